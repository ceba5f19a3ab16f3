package traffikredis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	traffik "github.com/traffik-go/traffik/core"
)

type answer string

func (a answer) Error() string { return string(a) }
func (answer) RedisError()     {}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ err, want error }{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, ErrUnreachable},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, ErrTimeout},
		{io.EOF, ErrUnreachable},
		{fmt.Errorf("wrapped: %w", io.ErrUnexpectedEOF), ErrUnreachable},
		{goredis.ErrPoolTimeout, ErrTimeout},
		{goredis.ErrClosed, ErrUnreachable},
		{context.DeadlineExceeded, ErrTimeout},
		{&net.OpError{Op: "dial", Err: context.DeadlineExceeded}, ErrTimeout},
		{context.Canceled, ErrUnreachable},
		{answer("OOM command not allowed when used memory > 'maxmemory'."), ErrMemory},
		{answer("ERR Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed when used memory > 'maxmemory'."), ErrMemory},
		{answer("READONLY You can't write against a read only replica."), ErrReadOnly},
		{answer("ERR Error running script (call to f_1): @user_script:9: -READONLY You can't write against a read only replica."), ErrReadOnly},
		{answer("NOPERM this user has no permissions to run the 'evalsha' command"), ErrPermission},
		{answer("NOAUTH Authentication required."), ErrPermission},
		{answer("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), ErrReadOnly},
		{answer("ERR Error running script (call to f_1): @user_script:9: -MISCONF Errors writing to the AOF file: No space left on device"), ErrReadOnly},
		{answer("CLUSTERDOWN Hash slot not served"), ErrUnreachable},
		{answer("MOVED 3999 127.0.0.1:6381"), ErrUnreachable},
		{answer("ASK 3999 127.0.0.1:6381"), ErrUnreachable},
		{answer("LOADING Redis is loading the dataset in memory"), ErrUnreachable},
		{answer("BUSY Redis is busy running a script."), ErrTimeout},
		{answer("ERR user_script:1: no"), ErrScript},
		{errors.New("redis: all sentinels specified in configuration are unreachable"), ErrUnreachable},
	} {
		got := typed(tc.err)
		ofContext := errors.Is(tc.err, context.DeadlineExceeded) || errors.Is(tc.err, context.Canceled)
		if !errors.Is(got, tc.want) || !errors.Is(got, traffik.ErrBackend) || errors.Is(got, tc.err) == ofContext || !strings.Contains(got.Error(), tc.err.Error()) {
			t.Errorf("%v became %v, want the kind %v", tc.err, got, tc.want)
		}
		if again := typed(got); again != got { //nolint:errorlint // the very same
			t.Errorf("%v was wrapped twice: %v", tc.err, again)
		}
	}
	if typed(nil) != nil {
		t.Error("no error became one")
	}
}
