package internet

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/twmb/franz-go/pkg/kmsg"

	"mesh-egress-conformance/framework/egress"
)

// answerTimeout is for answers that do not come.
const answerTimeout = 20 * time.Second

// clientConfig trusts the run's CA.
func clientConfig(ca *CA, name string) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: name}
}

// converse says something on a new connection and returns the first n bytes that come back; cfg is for TLS from the
// first byte on, nil for none.
func converse(t *testing.T, addr string, cfg *tls.Config, say string, n int) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err == nil && cfg != nil {
		c = tls.Client(c, cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	n, err = io.ReadFull(c, b)
	if err != nil {
		t.Errorf("after %q: %v", say, err)
	}
	return string(b[:n])
}

// packet is one of MySQL's.
func packet(n byte, body string) string {
	return string([]byte{byte(len(body)), byte(len(body) >> 8), 0, n}) + body
}

func be32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
func le32(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }

func kafkaRequest(r kmsg.Request, version int16) string {
	r.SetVersion(version)
	b := binary.BigEndian.AppendUint16(nil, uint16(r.Key()))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0, 4, 's', 'h', 'o', 'p')
	if r.IsFlexible() {
		b = append(b, 0)
	}
	b = r.AppendTo(b)
	return be32(uint32(len(b))) + string(b)
}

func mongoRequest(op uint32, before string, command string) string {
	var d document
	d.int32(command, 1)
	d.text("$db", "admin")
	body := before + string(d.bytes())
	return le32(uint32(mongoHeader+len(body))) + le32(9) + le32(0) + le32(op) + body
}

// step is what a client says and what it must hear next, somewhere in the answer: the first exchange of each protocol as
// its specification has it (PostgreSQL 17 chapter 53; MySQL "Connection Phase"; redis.io/docs "RESP"; MongoDB "Wire
// Protocol"; Kafka "Protocol Guide"; AMQP 0-9-1; RFC 5321, 3207 and 4954).
type step struct{ say, hear string }

func exchanges() map[Kind][]step {
	login := le32(myCapabilities) + le32(1<<24) + "\x2d" + strings.Repeat("\x00", 23) + "shop\x00\x03abcorders\x00caching_sha2_password\x00"
	startOK := "\x00\x00\x00\x00\x05PLAIN" + be32(12) + "\x00shop\x00secret" + "\x05en_US"
	method := func(channel byte, class, id byte, args string) string {
		return "\x01\x00" + string([]byte{channel}) + be32(uint32(4+len(args))) + string([]byte{0, class, 0, id}) + args + "\xce"
	}
	return map[Kind][]step{
		Banner: {{"", banner}, {"x", "x"}},
		Echo:   {{"abc", "abc"}},
		Postgres: {
			{be32(8) + be32(80877103), "N"}, // no TLS here
			{be32(8) + be32(80877104), "N"}, // nor GSSAPI
			{be32(35) + be32(196608) + "user\x00shop\x00database\x00orders\x00\x00", "R" + be32(8) + be32(0)},
			{"", "Z" + be32(5) + "I"},
			{"Q" + be32(13) + "select 1\x00", "D" + be32(11) + "\x00\x01" + be32(1) + "1"},
			{"", "Z" + be32(5) + "I"},
			{"Q" + be32(10) + "BEGIN\x00", "C" + be32(10) + "BEGIN\x00"},
		},
		MySQL: {
			{"", "\x0a8.0.36"},
			{"", "caching_sha2_password\x00"},
			{packet(1, login), packet(2, "\x01\x03") + packet(3, "\x00\x00\x00\x02\x00\x00\x00")},
			{packet(0, "\x0e"), packet(1, "\x00\x00\x00\x02\x00\x00\x00")},
			{packet(0, "\x03SELECT 1 AS one, 'two'"), packet(5, "\x011\x03two")},
			{packet(0, "\x1f"), "\xff\x17\x04#08S01"},
		},
		Redis: {
			{"*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
			{"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "$-1\r\n"},
			{"*4\r\n$5\r\nHELLO\r\n$1\r\n3\r\n$4\r\nAUTH\r\n$1\r\nx\r\n", "%7\r\n$6\r\nserver\r\n"},
			{"GET k\r\n", "_\r\n"},
			{"SUBSCRIBE a\r\n", "-ERR unknown command 'SUBSCRIBE'\r\n"},
			{"QUIT\r\n", "+OK\r\n"},
		},
		MongoDB: {
			{mongoRequest(mongoQuery, le32(0)+"admin.$cmd\x00"+le32(0)+le32(1), "isMaster"), "ismaster\x00\x01"},
			{mongoRequest(mongoMsg, le32(0)+"\x00", "hello"), "isWritablePrimary\x00\x01"},
			{mongoRequest(mongoMsg, le32(0)+"\x00", "ping"), "ok\x00\x00\x00\x00\x00\x00\x00\xf0\x3f"},
			{mongoRequest(mongoMsg, le32(0)+"\x00", "find"), "CommandNotFound"},
		},
		Kafka: {
			{kafkaRequest(kmsg.NewPtrApiVersionsRequest(), 4), be32(7) + "\x00\x23"}, // UNSUPPORTED_VERSION
			{kafkaRequest(kmsg.NewPtrApiVersionsRequest(), 3), be32(7) + "\x00\x00\x03\x00\x03\x00\x00\x00\x0c"},
			{kafkaRequest(kmsg.NewPtrMetadataRequest(), 12), "\x12kafka.raw.example"},
		},
		AMQP: {
			{amqpProtocol, "PLAIN AMQPLAIN EXTERNAL"},
			{method(0, 10, 11, startOK), "\x00\x0a\x00\x1e"},
			{method(0, 10, 31, strings.Repeat("\x00", 8)) + method(0, 10, 40, "\x01/\x00\x00"), "\x00\x0a\x00\x29"},
			{method(1, 20, 10, "\x00"), "\x01\x00\x01" + be32(8) + "\x00\x14\x00\x0b"},
			{method(1, 60, 20, ""), "NOT_IMPLEMENTED"},
			{method(0, 10, 51, ""), ""},
		},
		SMTP: {
			{"", "220 smtp.raw.example ESMTP"},
			{"EHLO shop.example\r\n", "250 AUTH PLAIN LOGIN\r\n"},
			{"STARTTLS\r\n", "454 "},
			{"AUTH PLAIN AHNob3AAc2VjcmV0\r\n", "235 "},
			{"MAIL FROM:<a@shop.example>\r\n", "250 "},
			{"RCPT TO:<b@shop.example>\r\n", "250 "},
			{"DATA\r\n", "354 "},
			{"Subject: x\r\n\r\n..\r\n.\r\n", "250 "},
			{"QUIT\r\n", "221 "},
		},
	}
}

// notes are what the log must say of the exchange.
var notes = map[Kind]string{
	Postgres: "database=orders user=shop", MySQL: "database=orders user=shop", Kafka: "clientId=shop", AMQP: "user=shop vhost=/",
	SMTP: "from=a@shop.example helo=shop.example rcpt=b@shop.example user=shop",
}

func TestFirstExchange(t *testing.T) {
	all := exchanges()
	var hosts []Host
	for _, k := range Kinds() {
		if _, raw := talks[k]; raw {
			if all[k] == nil {
				t.Errorf("no exchange of %s is tried", k)
			}
			hosts = append(hosts, Host{Name: string(k) + ".raw.example", Services: []Service{{Kind: k}, {Kind: k, TLS: true}}})
		}
	}
	s, ca := serve(t, &Hosts{Hosts: hosts})
	for k, steps := range all {
		h, _ := s.Hosts().Find(string(k) + ".raw.example")
		for _, svc := range h.Services {
			if svc.TLS && kinds[k].tls == tlsInside { // below
				continue
			}
			if k.ServerFirst() != (steps[0].say == "") {
				t.Errorf("%s: who speaks first?", k)
			}
			c, err := net.Dial("tcp", netip.AddrPortFrom(loopback(), svc.Port).String())
			if err != nil {
				t.Fatal(err)
			}
			if svc.TLS {
				c = tls.Client(c, clientConfig(ca, h.Name))
			}
			heard := ""
			for _, x := range steps {
				if x.say != "" {
					heard = ""
				}
				if _, err := io.WriteString(c, x.say); err != nil {
					t.Fatalf("%s: %v", k, err)
				}
				if !hear(c, &heard, x.hear) {
					t.Errorf("%s, TLS %t: after %q: %q, want %q", k, svc.TLS, x.say, heard, x.hear)
					break
				}
			}
			c.Close()
			a := last(t, s, h.Name)
			var said []string
			for name, text := range a.Extra {
				if name != "error" {
					said = append(said, name+"="+text)
				}
			}
			slices.Sort(said)
			if got := strings.Join(said, " "); got != notes[k] || a.TLS != svc.TLS || k != Banner && k != Echo && a.Proto != string(k) {
				t.Errorf("%s: arrival %+v, want %s", k, a, notes[k])
			}
		}
	}
}

// hear reads until the text is there; what has been heard stays for the next step.
func hear(c net.Conn, heard *string, want string) bool {
	if c.SetDeadline(time.Now().Add(answerTimeout)) != nil {
		return false
	}
	buf := make([]byte, 4096)
	for {
		if i := strings.Index(*heard, want); i >= 0 {
			*heard = (*heard)[i+len(want):]
			return true
		}
		n, err := c.Read(buf)
		*heard += string(buf[:n])
		if err != nil && !strings.Contains(*heard, want) {
			return false
		}
	}
}

// TLS that begins inside a protocol: what comes after it is the same exchange.
func TestTLSInside(t *testing.T) {
	var hosts []Host
	for k, tr := range kinds {
		if tr.tls == tlsInside {
			hosts = append(hosts, Host{Name: string(k) + ".raw.example", Services: []Service{{Kind: k, TLS: true}}})
		}
	}
	s, ca := serve(t, &Hosts{Hosts: hosts})
	ask := map[Kind][]step{
		Postgres: {{be32(8) + be32(80877103), "S"}},
		MySQL:    {{"", "caching_sha2_password\x00"}, {packet(1, le32(myCapabilities|mySSL)+le32(1<<24)+"\x2d"+strings.Repeat("\x00", 23)), ""}},
		SMTP:     {{"", "220 "}, {"EHLO a\r\n", "250-STARTTLS\r\n"}, {"", "250 AUTH"}, {"STARTTLS\r\n", "220 go ahead\r\n"}},
	}
	then := map[Kind]step{
		Postgres: {be32(19) + be32(196608) + "user\x00shop\x00\x00", "R" + be32(8) + be32(0)},
		MySQL:    {packet(2, le32(myCapabilities)+le32(1<<24)+"\x2d"+strings.Repeat("\x00", 23)+"shop\x00\x00\x00mysql_native_password\x00"), packet(3, "\x00\x00\x00\x02\x00\x00\x00")},
		SMTP:     {"EHLO a\r\n", "250 AUTH"},
	}
	for _, h := range hosts {
		k := h.Services[0].Kind
		c, err := net.Dial("tcp", netip.AddrPortFrom(loopback(), h.Services[0].Port).String())
		if err != nil {
			t.Fatal(err)
		}
		heard := ""
		for _, x := range ask[k] {
			if _, err := io.WriteString(c, x.say); err != nil || !hear(c, &heard, x.hear) {
				t.Fatalf("%s: after %q: %q, want %q: %v", k, x.say, heard, x.hear, err)
			}
		}
		secure := tls.Client(c, clientConfig(ca, h.Name))
		heard = ""
		if _, err := io.WriteString(secure, then[k].say); err != nil || !hear(secure, &heard, then[k].hear) {
			t.Errorf("%s inside TLS: %q, want %q: %v", k, heard, then[k].hear, err)
		}
		secure.Close()
		if a := last(t, s, h.Name); !a.TLS || a.SNI != h.Name || a.Proto != string(k) {
			t.Errorf("%s: arrival %+v", k, a)
		}
	}
	// A client that goes on in the clear behind STARTTLS would have its words taken for protected ones.
	h, _ := s.Hosts().Find("smtp.raw.example")
	c, err := net.Dial("tcp", netip.AddrPortFrom(loopback(), h.Services[0].Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "STARTTLS\r\nMAIL FROM:<x>\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); strings.Contains(string(b), "250") {
		t.Errorf("it goes on with %q", b)
	}
	// Since version 17 a Postgres client may begin with TLS.
	pg, _ := s.Hosts().Find("postgres.raw.example")
	cfg := clientConfig(ca, pg.Name)
	cfg.NextProtos = []string{"postgresql"}
	if got := converse(t, netip.AddrPortFrom(loopback(), pg.Services[0].Port).String(), cfg, then[Postgres].say, 9); got != then[Postgres].hear {
		t.Errorf("TLS from the first byte on: %q", got)
	}
}

// A driver prepares its statements, and wants numbers in binary.
func TestPostgresPrepared(t *testing.T) {
	s, _ := serve(t, &Hosts{Hosts: []Host{{Name: "pg.example", Services: []Service{{Kind: Postgres}}}}})
	h, _ := s.Hosts().Find("pg.example")
	c, err := net.Dial("tcp", netip.AddrPortFrom(loopback(), h.Services[0].Port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f := pgproto3.NewFrontend(c, c)
	until := func() (all []string, row *pgproto3.DataRow) {
		for {
			m, err := f.Receive()
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *pgproto3.DataRow:
				row = &pgproto3.DataRow{Values: [][]byte{slices.Clone(m.Values[0])}}
			case *pgproto3.ReadyForQuery:
				return all, row
			case *pgproto3.RowDescription:
				all = append(all, string(m.Fields[0].Name))
			case *pgproto3.ParameterDescription:
				all = append(all, strings.Repeat("$", len(m.ParameterOIDs)))
			}
		}
	}
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": "shop"}})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	until()
	f.Send(&pgproto3.Parse{Name: "s", Query: "select 258 as n where $1 = $2"})
	f.Send(&pgproto3.Describe{ObjectType: 'S', Name: "s"})
	f.Send(&pgproto3.Bind{PreparedStatement: "s", ResultFormatCodes: []int16{1}})
	f.Send(&pgproto3.Describe{ObjectType: 'P'})
	f.Send(&pgproto3.Execute{})
	f.Send(&pgproto3.Sync{})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	all, row := until()
	if strings.Join(all, " ") != "$$ n n" || row == nil || string(row.Values[0]) != "\x00\x00\x01\x02" {
		t.Errorf("%q, row %v", all, row)
	}
}

func TestAnswerSQL(t *testing.T) {
	for query, want := range map[string]string{
		"select 1": "SELECT 1=1", "SELECT 'a,b' AS x, f(1,2), 7 AS `n` FROM t WHERE a=1;": "SELECT x=a,b f(1,2)=1 n=7", "-- ping": "", " ; ": "",
		"/* driver */ SET x=1": "SET", "begin": "BEGIN", "show server_version": "SHOW server_version=1", "select\n1": "SELECT 1=1",
	} {
		row, verb := answerSQL(query)
		got := verb
		for _, c := range row {
			got += " " + c.name + "=" + c.value
		}
		if got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// Nothing that a client sends may end the internet.
func FuzzTalk(f *testing.F) {
	var raw []Kind
	for _, k := range Kinds() {
		if talks[k] != nil {
			raw = append(raw, k)
		}
	}
	for k, steps := range exchanges() {
		all := ""
		for _, x := range steps {
			all += x.say
		}
		f.Add(byte(slices.Index(raw, k)), []byte(all))
	}
	f.Fuzz(func(t *testing.T, n byte, said []byte) {
		k := raw[int(n)%len(raw)]
		client, server := net.Pipe()
		go func() {
			_, _ = client.Write(said) // it may be cut off
			client.Close()
		}()
		drained := make(chan struct{})
		c := &loggedConn{Conn: &oneWay{server}, log: &arrivals{}, seq: 1}
		c.log.add(egress.Arrival{})
		go func() {
			defer close(drained)
			_ = talks[k](&talk{host: Host{Name: "h"}, svc: Service{Kind: k}, conn: c, r: bufio.NewReader(c)})
			server.Close()
		}()
		<-drained
	})
}

// oneWay throws away what is written.
type oneWay struct{ net.Conn }

func (*oneWay) Write(b []byte) (int, error) { return len(b), nil }
