package traffikgin_test

import (
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode) // no debug output
	traffiktest.VerifyNoLeaks(m)
}
