// Command spireclient calls any RPC of the SPIRE APIs and the Workload API by name, with the messages as JSON.
//
//	spireclient -addr unix:/run/admin.sock list
//	spireclient -addr unix:/run/admin.sock call spire.api.server.entry.v1.Entry/ListEntries '{"pageSize": 10}'
//	spireclient -addr 127.0.0.1:8081 -svid svid.pem -key key.pem -bundle bundle.pem session
//
// `call` sends the requests given as arguments, closes its side and prints one line for each response,
// {"message": …}, and at last {"status": {"code", "message", "details"}, "header": …, "trailer": …}.
//
// `session` keeps one connection and takes commands from standard input, one JSON object a line:
//
//	{"id": "1", "call": "package.Service/Method", "request": {…}, "headers": {…}, "timeoutMs": 1000}
//	{"id": "1", "send": {…}}   {"id": "1", "raw": "<base64>"}   {"id": "1", "end": true}   {"id": "1", "cancel": true}
//
// Its output has the same lines as that of `call`, with the id. A method whose client side does not stream is closed
// after the first request. The exit code is 0, 1 when `call` ended with an error status, 2 when it could not begin.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"countersign.dev/test/go/internal/contract"
	"countersign.dev/test/go/internal/dial"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

type headers map[string]string

func (h headers) String() string { return "" }

func (h headers) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("%q is not key=value", text)
	}
	h[key] = value
	return nil
}

func main() {
	var options dial.Options
	sent := headers{}
	options.Register(flag.CommandLine)
	flag.Var(sent, "H", "metadata to send, key=value; may be repeated")
	timeout := flag.Duration("timeout", 30*time.Second, "deadline of a call; 0 for none")
	limit := flag.Int("limit", 0, "cancel after this many responses; 0 for none")
	flag.Parse()

	conn, release, err := options.Connect(context.Background(), grpc.WithDefaultCallOptions(grpc.ForceCodec(codec{})))
	if err != nil {
		fail(err)
	}
	defer release()
	out := &printer{encoder: json.NewEncoder(os.Stdout)}
	switch flag.Arg(0) {
	case "list":
		list()
	case "call":
		code := callOnce(conn, out, onceParams{method: flag.Arg(1), requests: flag.Args()[2:], headers: sent, timeout: *timeout, limit: *limit})
		if code != codes.OK {
			release()
			os.Exit(1)
		}
	case "session":
		if err := serveSession(conn, out, bufio.NewReader(os.Stdin)); err != nil {
			fail(err)
		}
	default:
		fail(fmt.Errorf("unknown command %q: use list, call or session", flag.Arg(0)))
	}
}

func list() {
	for _, service := range contract.Services() {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			fmt.Printf("%s/%s\n", service.FullName(), method.Name())
		}
	}
}

type onceParams struct {
	method   string
	requests []string
	headers  headers
	timeout  time.Duration
	limit    int
}

func callOnce(conn *grpc.ClientConn, out *printer, params onceParams) codes.Code {
	opened, err := openCall(conn, out, callParams{
		method: params.method, headers: params.headers, timeout: params.timeout, limit: params.limit,
	})
	if err != nil {
		fail(err)
	}
	if len(params.requests) == 0 && !opened.method.IsStreamingClient() {
		params.requests = []string{"{}"}
	}
	for _, request := range params.requests {
		if err := opened.sendJSON([]byte(request)); err != nil {
			fail(err)
		}
	}
	opened.end()
	return <-opened.done
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "spireclient:", err)
	os.Exit(2)
}
