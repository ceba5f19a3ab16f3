package main

import (
	"net/http"

	"github.com/gin-gonic/gin"

	traffikgin "github.com/traffik-go/traffik/adapters/gin"
)

func ginHandler(l *limits) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.Use(gin.Recovery())
	api := router.Group("/gin")
	api.GET("/items", traffikgin.New(l.items["gin"]), func(c *gin.Context) { c.JSON(http.StatusOK, itemsAnswer) })
	api.GET("/search", traffikgin.New(l.search["gin"]), func(c *gin.Context) { c.JSON(http.StatusOK, searchAnswer) })
	return router
}
