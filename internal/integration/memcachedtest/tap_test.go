package memcachedtest

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// tap stands between a client and its server, keeps what is said and lets a
// test in between. The client waits for each answer before it asks again, so one
// command and one answer at a time pass through each connection.
type tap struct {
	addr   string
	server string

	mu     sync.Mutex
	lines  []string // the first line of each command
	before func(line string)
	conns  []net.Conn
	wg     sync.WaitGroup
}

// newTap returns one in front of server, gone with the test.
func newTap(t testing.TB, server string) *tap {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{addr: l.Addr().String(), server: server}
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// onCommand has f called with each command's first line before it is passed on.
func (p *tap) onCommand(f func(line string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// said returns the commands since the last call.
func (p *tap) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := p.lines
	p.lines = nil
	return lines
}

func (p *tap) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.wg.Go(func() {
			p.pass(client, server)
			_ = client.Close()
			_ = server.Close()
		})
	}
}

func (p *tap) pass(client, server net.Conn) {
	asks, answers := bufio.NewReader(client), bufio.NewReader(server)
	for {
		command, line, err := readCommand(asks)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.lines = append(p.lines, line)
		before := p.before
		p.mu.Unlock()
		if before != nil {
			before(line)
		}
		if _, err := server.Write(command); err != nil {
			return
		}
		answer, err := readAnswer(answers, line)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// readCommand reads a line, and the data of a command that stores.
func readCommand(r *bufio.Reader) (command []byte, line string, err error) {
	line, err = r.ReadString('\n')
	if err != nil {
		return nil, "", err
	}
	command = []byte(line)
	line = strings.TrimSuffix(line, "\r\n")
	switch fields := strings.Fields(line); fields[0] {
	case "add", "cas", "set":
		command, err = readData(r, command, fields[4])
	}
	return command, line, err
}

// readAnswer reads a line, or all items up to END.
func readAnswer(r *bufio.Reader, command string) (answer []byte, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		answer = append(answer, line...)
		fields := strings.Fields(line)
		if !strings.HasPrefix(command, "get") || fields[0] != "VALUE" {
			return answer, nil
		}
		if answer, err = readData(r, answer, fields[3]); err != nil {
			return nil, err
		}
	}
}

func readData(r *bufio.Reader, head []byte, size string) ([]byte, error) {
	n, err := strconv.Atoi(size)
	if err != nil {
		return nil, err
	}
	data := make([]byte, n+2)
	_, err = io.ReadFull(r, data)
	return append(head, data...), err
}

// verbs are the first words of lines.
func verbs(lines []string) string {
	var words []string
	for _, line := range lines {
		words = append(words, strings.Fields(line)[0])
	}
	return strings.Join(words, " ")
}
