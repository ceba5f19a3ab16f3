package demotest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keep writes a picture where PICTURE says, for a person to look at. The suffix
// goes before the file's extension.
func keep(t *testing.T, suffix string, picture []byte) {
	t.Helper()
	file := os.Getenv("PICTURE")
	if file == "" {
		return
	}
	ext := filepath.Ext(file)
	file = strings.TrimSuffix(file, ext) + suffix + ext
	if err := os.WriteFile(file, picture, 0o600); err != nil {
		t.Error(err)
	}
}
