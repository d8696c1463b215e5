package internet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Capabilities, commands and codes of MySQL's client/server protocol (MySQL Internals, "Connection Phase" and "Command
// Phase").
const (
	myLongPassword   = 1 << 0
	myConnectWithDB  = 1 << 3
	myProtocol41     = 1 << 9
	mySSL            = 1 << 11
	myTransactions   = 1 << 13
	mySecure         = 1 << 15
	myPluginAuth     = 1 << 19
	myLenencAuth     = 1 << 21
	myCapabilities   = myLongPassword | myConnectWithDB | myProtocol41 | myTransactions | mySecure | myPluginAuth | myLenencAuth
	myAutocommit     = 2
	myUTF8           = 45  // utf8mb4_general_ci
	myBinary         = 63  // collation of numbers
	myLongType       = 3   // MYSQL_TYPE_LONG
	myStringType     = 253 // MYSQL_TYPE_VAR_STRING
	myMaxPacket      = 1 << 20
	myQuit           = 1
	myInitDB         = 2
	myQuery          = 3
	myPing           = 14
	myUnknownCommand = 1047
)

// myNonce is what a client mixes into its password; nobody checks that here.
var myNonce = []byte("mesh-egress-conform.")

// mySession is one connection; packets are numbered anew with each command.
type mySession struct {
	t    *talk
	next byte
}

// mysql greets first, may go over to TLS, accepts every user, and answers selects with one row.
func mysql(t *talk) error {
	s := &mySession{t: t}
	caps := uint32(myCapabilities)
	if t.tls != nil {
		caps |= mySSL
	}
	g := append([]byte{10}, "8.0.36-mesh-egress-conformance\x00"...)
	g = append(g, 1, 0, 0, 0)
	g = append(append(g, myNonce[:8]...), 0)
	g = binary.LittleEndian.AppendUint16(g, uint16(caps))
	g = append(g, myUTF8, myAutocommit, 0)
	g = binary.LittleEndian.AppendUint16(g, uint16(caps>>16))
	g = append(append(g, byte(len(myNonce)+1)), make([]byte, 10)...)
	g = append(append(g, myNonce[8:]...), 0)
	if err := s.write(append(g, "caching_sha2_password\x00"...)); err != nil {
		return err
	}
	if err := s.login(); err != nil {
		return err
	}
	for {
		s.next = 0
		p, err := s.read()
		if err != nil || len(p) == 0 || p[0] == myQuit {
			return err
		}
		switch p[0] {
		case myPing, myInitDB:
			err = s.ok()
		case myQuery:
			err = s.query(string(p[1:]))
		default:
			err = s.fail(myUnknownCommand, fmt.Sprintf("this host does not answer command %d", p[0]))
		}
		if err != nil {
			return err
		}
	}
}

// login reads the client's answer to the greeting, before and after TLS, and lets it in.
func (s *mySession) login() error {
	p, err := s.read()
	if err != nil {
		return err
	}
	const fixed = 32 // capabilities, packet size, character set, reserved
	if len(p) == fixed && binary.LittleEndian.Uint32(p)&mySSL != 0 {
		if s.t.tls == nil {
			return errors.New("the client begins TLS, which was not offered")
		}
		if err := s.t.secureBuffered(); err != nil { // the client does not wait for an answer
			return err
		}
		if p, err = s.read(); err != nil {
			return err
		}
	}
	if len(p) < fixed || binary.LittleEndian.Uint32(p)&myProtocol41 == 0 {
		return errors.New("the client speaks a protocol older than MySQL 4.1")
	}
	caps, rest := binary.LittleEndian.Uint32(p), p[fixed:]
	user, rest, _ := bytes.Cut(rest, []byte{0})
	var answer []byte
	switch {
	case len(rest) == 0:
	case caps&(myLenencAuth|mySecure) != 0: // shorter than 251 bytes, where both mean one byte of length
		n := min(int(rest[0]), len(rest)-1)
		answer, rest = rest[1:1+n], rest[1+n:]
	default:
		answer, rest, _ = bytes.Cut(rest, []byte{0})
	}
	s.t.spoke()
	s.t.note("user", string(user))
	if caps&myConnectWithDB != 0 {
		var db []byte
		db, rest, _ = bytes.Cut(rest, []byte{0})
		s.t.note("database", string(db))
	}
	plugin := []byte("mysql_native_password")
	if caps&myPluginAuth != 0 {
		plugin, _, _ = bytes.Cut(rest, []byte{0})
	}
	switch string(plugin) {
	case "mysql_native_password":
	case "caching_sha2_password":
		if len(answer) > 1 { // with a password the server says first that its cache knows it
			err = s.write([]byte{1, 3})
		}
	default: // some other way of proving a password: ask for one that every client has
		err = s.write(append(append([]byte("\xfemysql_native_password\x00"), myNonce...), 0))
		if err == nil {
			_, err = s.read()
		}
	}
	if err != nil {
		return err
	}
	return s.ok()
}

func (s *mySession) query(sql string) error {
	row, verb := answerSQL(sql)
	if row == nil || verb == "" {
		return s.ok()
	}
	out := [][]byte{{byte(len(row))}}
	var values []byte
	for _, c := range row {
		typ, charset := byte(myStringType), byte(myUTF8)
		if _, is := c.number(); is {
			typ, charset = myLongType, myBinary
		}
		d := lenenc(nil, "def")
		for _, x := range []string{"", "", "", c.name, ""} { // schema, table twice, name twice
			d = lenenc(d, x)
		}
		out = append(out, append(d, 12, charset, 0, 0, 1, 0, 0, typ, 0, 0, 0, 0, 0))
		values = lenenc(values, c.value)
	}
	end := []byte{0xfe, 0, 0, myAutocommit, 0}
	for _, p := range append(out, end, values, end) {
		if err := s.write(p); err != nil {
			return err
		}
	}
	return nil
}

// lenenc appends a string with its length before it.
func lenenc(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 251:
		b = append(b, byte(n))
	default:
		s = s[:min(n, 1<<16-1)]
		b = binary.LittleEndian.AppendUint16(append(b, 0xfc), uint16(len(s)))
	}
	return append(b, s...)
}

func (s *mySession) ok() error { return s.write([]byte{0, 0, 0, myAutocommit, 0, 0, 0}) }

func (s *mySession) fail(code uint16, text string) error {
	return s.write(append(append(binary.LittleEndian.AppendUint16([]byte{0xff}, code), "#08S01"...), text...))
}

func (s *mySession) write(p []byte) error {
	n := len(p)
	b := append([]byte{byte(n), byte(n >> 8), byte(n >> 16), s.next}, p...)
	s.next++
	return s.t.say(b)
}

func (s *mySession) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.t.r, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > myMaxPacket {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	s.next = head[3] + 1
	p := make([]byte, n)
	_, err := io.ReadFull(s.t.r, p)
	return p, err
}
