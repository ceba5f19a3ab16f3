// Package proxies puts real nginx and HAProxy processes in front of the real
// servers and checks which client the servers see. docs/proxies.md has the
// configuration that it uses.
package proxies

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/traffik-go/traffik/internal/integration/servers"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// Addresses from which the proxies call the server behind them. Each proxy has a
// different one, as it would on separate hosts.
const (
	nginxAddr   = "127.0.0.10"
	haproxyAddr = "127.0.0.11"
)

// proxy is a kind of proxy.
type proxy struct {
	name string
	addr string // from which it calls
	// start starts one in front of upstream, an address or the path of a Unix
	// socket, and returns where it listens. Settings are lines of the
	// proxy's configuration language.
	start func(t *testing.T, upstream string, settings ...string) string
}

var (
	nginx   = proxy{name: "nginx", addr: nginxAddr, start: startNginx}
	haproxy = proxy{name: "haproxy", addr: haproxyAddr, start: startHAProxy}
	proxies = []proxy{nginx, haproxy}
)

const nginxConf = `
daemon off;
master_process off; # one process, which can be ended
pid nginx.pid;
error_log error.log;
events { worker_connections 128; }
http {
	access_log off;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	server {
		listen 127.0.0.1:%d;
		location / {
			proxy_pass http://%s;
			proxy_bind %s;
			%s
		}
	}
}
`

func startNginx(t *testing.T, upstream string, settings ...string) string {
	t.Helper()
	bind := nginxAddr
	if isSocket(upstream) {
		upstream, bind = "unix:"+upstream, "off"
	}
	return servers.Custom{
		Name: "nginx", Binary: "nginx", Advice: "apt-get install nginx-light",
		Args: func(_ int, dir string) []string { return []string{"-p", dir, "-c", "nginx.conf", "-e", "error.log"} },
		Files: func(port int, _ string) map[string]string {
			return map[string]string{"nginx.conf": fmt.Sprintf(nginxConf, port, upstream, bind, strings.Join(settings, "\n\t\t\t"))}
		},
	}.Start(t).Addr
}

const haproxyConf = `
global
	maxconn 128
	nbthread 1
defaults
	mode http
	timeout connect 10s
	timeout client 30s
	timeout server 30s
listen proxy
	bind 127.0.0.1:%d
	server app %s
	%s
`

func startHAProxy(t *testing.T, upstream string, settings ...string) string {
	t.Helper()
	if isSocket(upstream) {
		upstream = "unix@" + upstream
	} else {
		upstream += " source " + haproxyAddr
	}
	return servers.Custom{
		Name: "HAProxy", Binary: "haproxy", Advice: "apt-get install haproxy",
		Args: func(_ int, dir string) []string { return []string{"-db", "-f", dir + "/haproxy.cfg"} },
		Files: func(port int, _ string) map[string]string {
			return map[string]string{"haproxy.cfg": fmt.Sprintf(haproxyConf, port, upstream, strings.Join(settings, "\n\t"))}
		},
	}.Start(t).Addr
}

func isSocket(upstream string) bool { return strings.HasPrefix(upstream, "/") }

// mustBeDocumented fails the test unless each line stands in docs/proxies.md.
func mustBeDocumented(t *testing.T, lines []string) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if !bytes.Contains(text, []byte(line)) {
			t.Errorf("docs/proxies.md does not have %q", line)
		}
	}
}
