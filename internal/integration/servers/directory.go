package servers

import (
	"errors"
	"os"
	"path/filepath"
)

// memoryFS is where Linux keeps files in memory.
const memoryFS = "/dev/shm"

// newDir makes the directory of one server, in memory where the system can. Members of a
// Cluster and sentinels wait for the disk (fsync) before they vote. If a busy disk takes
// half a second for that, they do not replace a killed master within half a minute.
func newDir() (string, error) {
	dir, err := os.MkdirTemp(memoryFS, "traffik-test-")
	if err != nil {
		return os.MkdirTemp("", "traffik-test-")
	}
	return dir, nil
}

// write puts the files that the program needs into its directory. It leaves existing ones
// alone, because servers change their files.
func (p program) write(dir string) error {
	for name, text := range p.files {
		if err := writeNew(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}
