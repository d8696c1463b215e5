package internet

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of a Redis command.
const (
	redisArgs = 1024
	redisBulk = 1 << 20
)

// redis speaks RESP 2, and 3 where the client says hello: the client speaks first. Every user may come in, and no key has
// a value.
func redis(t *talk) error {
	nothing := "$-1\r\n"
	for {
		args, err := redisCommand(t)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			continue
		}
		t.spoke()
		var out string
		end := false
		switch name := strings.ToUpper(args[0]); name {
		case "PING":
			out = "+PONG\r\n"
			if len(args) > 1 {
				out = bulk(args[1])
			}
		case "ECHO":
			out = bulk(strings.Join(args[1:], " "))
		case "HELLO":
			out, nothing = redisHello(args, nothing)
		case "AUTH":
			if len(args) == 3 {
				t.note("user", args[1])
			}
			out = "+OK\r\n"
		case "SELECT", "SET", "CLIENT", "READONLY":
			out = "+OK\r\n"
		case "GET":
			out = nothing
		case "INFO":
			out = bulk("# Server\r\nredis_version:7.2.4\r\nredis_mode:standalone\r\n")
		case "COMMAND", "CONFIG":
			out = "*0\r\n"
		case "QUIT":
			out, end = "+OK\r\n", true
		default:
			out = fmt.Sprintf("-ERR unknown command '%s'\r\n", printableASCII(args[0]))
		}
		if err := t.say([]byte(out)); err != nil || end {
			return err
		}
	}
}

// redisHello answers HELLO, and says how a missing value is written from then on.
func redisHello(args []string, nothing string) (out, newNothing string) {
	version := "2"
	if nothing == "_\r\n" {
		version = "3"
	}
	if len(args) > 1 {
		version = args[1]
	}
	head := map[string]string{"2": "*14\r\n", "3": "%7\r\n"}[version]
	if head == "" {
		return "-NOPROTO unsupported protocol version\r\n", nothing
	}
	if nothing = "$-1\r\n"; version == "3" {
		nothing = "_\r\n"
	}
	return head + bulk("server") + bulk("redis") + bulk("version") + bulk("7.2.4") + bulk("proto") + ":" + version + "\r\n" +
		bulk("id") + ":1\r\n" + bulk("mode") + bulk("standalone") + bulk("role") + bulk("master") + bulk("modules") + "*0\r\n", nothing
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// printableASCII keeps what cannot break a line of the protocol.
func printableASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), 64)])
}

// redisCommand reads an array of strings, or words on a line.
func redisCommand(t *talk) ([]string, error) {
	line, err := t.line()
	if err != nil {
		return nil, err
	}
	rest, array := strings.CutPrefix(line, "*")
	if !array {
		return strings.Fields(line), nil
	}
	n, err := strconv.Atoi(rest)
	if err != nil || n > redisArgs {
		return nil, fmt.Errorf("a command of %q arguments", rest)
	}
	var out []string
	for range n {
		if line, err = t.line(); err != nil {
			return nil, err
		}
		size, err := strconv.Atoi(strings.TrimPrefix(line, "$"))
		if err != nil || !strings.HasPrefix(line, "$") || size < 0 || size > redisBulk {
			return nil, errors.New("an argument that is no string, or too long a one")
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(t.r, b); err != nil {
			return nil, err
		}
		out = append(out, string(b[:size]))
	}
	return out, nil
}
