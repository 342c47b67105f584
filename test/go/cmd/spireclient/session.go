package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
)

// command is one line of a session's input.
type command struct {
	ID        string            `json:"id"`
	Call      string            `json:"call"`
	Headers   map[string]string `json:"headers"`
	TimeoutMs int64             `json:"timeoutMs"`
	Limit     int               `json:"limit"`
	Request   json.RawMessage   `json:"request"`
	Send      json.RawMessage   `json:"send"`
	Raw       *string           `json:"raw"`
	End       bool              `json:"end"`
	Cancel    bool              `json:"cancel"`
}

// serveSession ends when the input does; calls that are then under way are waited for.
func serveSession(conn *grpc.ClientConn, out *printer, input *bufio.Reader) error {
	calls := map[string]*call{}
	for {
		text, err := input.ReadBytes('\n')
		if len(text) > 1 {
			if err := perform(conn, out, calls, text); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			for _, opened := range calls {
				opened.end()
				<-opened.done
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func perform(conn *grpc.ClientConn, out *printer, calls map[string]*call, text []byte) error {
	var c command
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("command %.200q: %w", text, err)
	}
	if c.Call != "" {
		opened, err := openCall(conn, out, callParams{
			id: c.ID, method: c.Call, headers: c.Headers, timeout: time.Duration(c.TimeoutMs) * time.Millisecond, limit: c.Limit,
		})
		if err != nil {
			return err
		}
		calls[c.ID] = opened
	}
	opened, found := calls[c.ID]
	if !found {
		return fmt.Errorf("no call %q", c.ID)
	}
	if err := send(opened, c); err != nil {
		out.print(line{ID: c.ID, Error: err.Error()})
		return nil
	}
	if c.Cancel {
		opened.cancel()
	}
	return nil
}

func send(opened *call, c command) error {
	messages := []json.RawMessage{}
	for _, message := range []json.RawMessage{c.Request, c.Send} {
		if len(message) > 0 && string(message) != "null" {
			messages = append(messages, message)
		}
	}
	for _, message := range messages {
		if err := opened.sendJSON(message); err != nil {
			return err
		}
	}
	if c.Raw != nil {
		raw, err := base64.StdEncoding.DecodeString(*c.Raw)
		if err != nil {
			return err
		}
		if err := opened.send(rawMessage(raw)); err != nil {
			return err
		}
	}
	sent := len(messages) > 0 || c.Raw != nil
	if c.End || (sent && !opened.method.IsStreamingClient()) {
		opened.end()
	}
	return nil
}
