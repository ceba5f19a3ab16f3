package servers

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// LogOfRedis sends what go-redis logs, which is a line for each server that a test
// killed or stopped and each attempt to reach it, to a file instead of the output of
// the tests. Call it in TestMain, before the tests, and end instead of [os.Exit] after
// them: if they failed it says where the file is, else the file is removed.
func LogOfRedis() (end func(code int)) {
	file, err := os.CreateTemp("", "traffik-redis-*.log")
	if err != nil {
		fmt.Fprintln(os.Stderr, "servers:", err)
		os.Exit(1)
	}
	log := &redisLog{file: file}
	redis.SetLogger(log)
	return func(code int) {
		lines := log.close()
		if code == 0 || lines == 0 {
			_ = os.Remove(file.Name())
		} else {
			fmt.Fprintf(os.Stderr, "go-redis logged %d lines: %s\n", lines, file.Name())
		}
		os.Exit(code)
	}
}

// redisLog is a logger of go-redis.
type redisLog struct {
	mu    sync.Mutex
	file  *os.File // nil once it is closed
	lines int
}

func (l *redisLog) Printf(_ context.Context, format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.lines++
		_, _ = fmt.Fprintf(l.file, time.Now().Format("15:04:05.000000 ")+format+"\n", v...)
	}
}

func (l *redisLog) close() (lines int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.file.Close()
	l.file = nil
	return l.lines
}
