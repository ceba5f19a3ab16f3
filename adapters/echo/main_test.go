package traffikecho_test

import (
	"testing"

	"github.com/traffik-go/traffik/core/traffiktest"
)

func TestMain(m *testing.M) { traffiktest.VerifyNoLeaks(m) }
