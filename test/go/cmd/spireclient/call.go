package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"countersign.dev/test/go/internal/contract"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

type callParams struct {
	id      string
	method  string
	headers map[string]string
	timeout time.Duration
	limit   int
}

// call is one RPC under way. Its responses and its status go to the printer; done then has the code.
type call struct {
	id     string
	method protoreflect.MethodDescriptor
	stream grpc.ClientStream
	cancel context.CancelFunc
	done   chan codes.Code
}

func openCall(conn *grpc.ClientConn, out *printer, params callParams) (*call, error) {
	method, found := contract.Method(params.method)
	if !found {
		return nil, fmt.Errorf("no method %q: see `spireclient list`", params.method)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), metadata.New(params.headers)))
	if params.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, params.timeout)
	}
	desc := &grpc.StreamDesc{StreamName: string(method.Name()), ServerStreams: true, ClientStreams: true}
	path := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	opened := &call{id: params.id, method: method, cancel: cancel, done: make(chan codes.Code, 1)}
	stream, err := conn.NewStream(ctx, desc, path)
	if err != nil {
		out.status(opened, err)
		opened.done <- status.Code(err)
		return opened, nil
	}
	opened.stream = stream
	go opened.receive(out, params.limit)
	return opened, nil
}

func (c *call) receive(out *printer, limit int) {
	defer c.cancel()
	for count := 1; ; count++ {
		message := dynamicpb.NewMessage(c.method.Output())
		err := c.stream.RecvMsg(message)
		if errors.Is(err, io.EOF) {
			err = nil
			out.status(c, nil)
			c.done <- codes.OK
			return
		}
		if err != nil {
			out.status(c, err)
			c.done <- status.Code(err)
			return
		}
		out.message(c, message)
		if count == limit {
			c.cancel()
			out.status(c, nil)
			c.done <- codes.OK
			return
		}
	}
}

func (c *call) sendJSON(text []byte) error {
	message := dynamicpb.NewMessage(c.method.Input())
	if err := protojson.Unmarshal(text, message); err != nil {
		return err
	}
	return c.send(message)
}

// send ignores the error of a stream that has already ended: its status says more.
func (c *call) send(message any) error {
	if c.stream == nil {
		return nil
	}
	if err := c.stream.SendMsg(message); err != nil && !errors.Is(err, io.EOF) && status.Code(err) == codes.Unknown {
		return err
	}
	return nil
}

func (c *call) end() {
	if c.stream != nil {
		_ = c.stream.CloseSend()
	}
}

// rawMessage goes on the wire as it is.
type rawMessage []byte

// codec is protobuf's, and lets rawMessage through.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message any) ([]byte, error) {
	if raw, ok := message.(rawMessage); ok {
		return raw, nil
	}
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message any) error {
	return proto.Unmarshal(data, message.(proto.Message))
}

// printer writes whole lines from several calls.
type printer struct {
	mutex   sync.Mutex
	encoder *json.Encoder
}

type statusLine struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

type line struct {
	ID      string              `json:"id,omitempty"`
	Message json.RawMessage     `json:"message,omitempty"`
	Status  *statusLine         `json:"status,omitempty"`
	Header  map[string][]string `json:"header,omitempty"`
	Trailer map[string][]string `json:"trailer,omitempty"`
	Error   string              `json:"error,omitempty"`
}

func (p *printer) print(l line) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_ = p.encoder.Encode(l)
}

func (p *printer) message(c *call, message proto.Message) {
	text, err := protojson.Marshal(message)
	if err != nil {
		p.print(line{ID: c.id, Error: err.Error()})
		return
	}
	p.print(line{ID: c.id, Message: text})
}

func (p *printer) status(c *call, err error) {
	result := status.Convert(err)
	l := line{ID: c.id, Status: &statusLine{Code: codeName(result.Code()), Message: result.Message(), Details: []json.RawMessage{}}}
	for _, detail := range result.Proto().GetDetails() {
		text, err := protojson.Marshal(detail)
		if err != nil {
			text, _ = json.Marshal(map[string]any{"@type": detail.TypeUrl, "value": detail.Value})
		}
		l.Status.Details = append(l.Status.Details, text)
	}
	if c.stream != nil {
		if header, err := c.stream.Header(); err == nil {
			l.Header = header
		}
		l.Trailer = c.stream.Trailer()
	}
	p.print(l)
}
