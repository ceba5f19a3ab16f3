package main

import (
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	traffikecho "github.com/traffik-go/traffik/adapters/echo"
)

func echoHandler(l *limits) http.Handler {
	e := echo.New()
	e.Use(middleware.Recover())
	api := e.Group("/echo")
	api.GET("/items", func(c echo.Context) error { return c.JSON(http.StatusOK, itemsAnswer) }, traffikecho.New(l.items["echo"]))
	api.GET("/search", func(c echo.Context) error { return c.JSON(http.StatusOK, searchAnswer) }, traffikecho.New(l.search["echo"]))
	return e
}
