package internet

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// maxMail bounds a message, in lines.
const maxMail = 100_000

// smtp greets first (RFC 5321), offers STARTTLS where the service has tls (RFC 3207), accepts every login, and takes every
// message for itself.
func smtp(t *talk) error {
	name := t.name()
	secured := false
	reply := func(text string) error { return t.say([]byte(text + "\r\n")) }
	if err := reply("220 " + name + " ESMTP mesh-egress-conformance"); err != nil {
		return err
	}
	for {
		line, err := t.line()
		if err != nil {
			return err
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			t.spoke()
			t.note("helo", rest)
			out := "250-" + name + "\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
			if t.tls != nil && !secured {
				out += "250-STARTTLS\r\n"
			}
			err = reply(out + "250 AUTH PLAIN LOGIN")
		case "HELO":
			t.spoke()
			t.note("helo", rest)
			err = reply("250 " + name)
		case "STARTTLS":
			if t.tls == nil || secured {
				err = reply("454 TLS is not available here")
				break
			}
			if err = reply("220 go ahead"); err == nil {
				err = t.secure()
			}
			secured = true
		case "AUTH":
			err = smtpAuth(t, rest, reply)
		case "MAIL":
			t.note("from", mailbox(rest))
			err = reply("250 OK")
		case "RCPT":
			t.note("rcpt", mailbox(rest))
			err = reply("250 OK")
		case "RSET", "NOOP":
			err = reply("250 OK")
		case "VRFY":
			err = reply("252 perhaps")
		case "DATA":
			err = smtpData(t, reply)
		case "QUIT":
			return reply("221 bye")
		default:
			err = reply("502 this host does not know that command")
		}
		if err != nil {
			return err
		}
	}
}

func smtpAuth(t *talk, rest string, reply func(string) error) error {
	mechanism, first, given := strings.Cut(rest, " ")
	prompts := []string{""} // PLAIN
	if strings.EqualFold(mechanism, "LOGIN") {
		prompts = []string{"VXNlcm5hbWU6", "UGFzc3dvcmQ6"} // Username:, Password:
	}
	var said []string
	if given {
		said = append(said, first)
	}
	for len(said) < len(prompts) {
		if err := reply("334 " + prompts[len(said)]); err != nil {
			return err
		}
		line, err := t.line()
		if err != nil {
			return err
		}
		said = append(said, line)
	}
	if b, err := base64.StdEncoding.DecodeString(said[0]); err == nil {
		parts := strings.Split(string(b), "\x00")
		t.note("user", parts[min(1, len(parts)-1)])
	}
	return reply("235 welcome")
}

func smtpData(t *talk, reply func(string) error) error {
	if err := reply("354 end with a dot on a line of its own"); err != nil {
		return err
	}
	for range maxMail {
		line, err := t.line()
		if err != nil {
			return err
		}
		if line == "." {
			return reply("250 taken")
		}
	}
	return fmt.Errorf("a message of more than %d lines", maxMail)
}

// mailbox is the address in a FROM:<...> or TO:<...>.
func mailbox(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
