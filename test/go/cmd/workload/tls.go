package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// serve answers each line with the caller's SPIFFE ID and the line, for as long as the connection lasts.
func serve(ctx context.Context, o options, address string) error {
	source, authorizer, err := o.source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := tls.Listen("tcp", address, tlsconfig.MTLSServerConfig(source, source, authorizer))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	svid, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	print(map[string]any{"listening": listener.Addr().String(), "id": svid.ID.String()})
	for {
		conn, err := listener.Accept()
		if err != nil {
			return ctx.Err()
		}
		go answer(ctx, conn.(*tls.Conn))
	}
}

func answer(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		print(map[string]any{"refused": err.Error()})
		return
	}
	peer, err := peerID(conn)
	if err != nil {
		print(map[string]any{"refused": err.Error()})
		return
	}
	print(map[string]any{"peer": peer})
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := fmt.Fprintf(conn, "%s %s\n", peer, lines.Text()); err != nil {
			return
		}
	}
}

// dial sends one line and prints who answered what.
func dial(ctx context.Context, o options, address string) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	source, authorizer, err := o.source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	dialer := &tls.Dialer{Config: tlsconfig.MTLSClientConfig(source, source, authorizer)}
	plain, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	conn := plain.(*tls.Conn)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(o.timeout))
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return err
	}
	// With TLS 1.3 a refusal by the server arrives with the first read.
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	peer, err := peerID(conn)
	if err != nil {
		return err
	}
	print(map[string]any{"peer": peer, "reply": strings.TrimSpace(reply)})
	return nil
}

func (o options) source(ctx context.Context) (*workloadapi.X509Source, tlsconfig.Authorizer, error) {
	authorizer, err := o.authorizer()
	if err != nil {
		return nil, nil, err
	}
	first, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	source, err := workloadapi.NewX509Source(first, workloadapi.WithClientOptions(o.clientOptions()...))
	return source, authorizer, err
}

func peerID(conn *tls.Conn) (string, error) {
	id, err := x509svid.IDFromCert(conn.ConnectionState().PeerCertificates[0])
	return id.String(), err
}
