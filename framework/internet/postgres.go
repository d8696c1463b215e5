package internet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"
)

// postgres speaks the frontend/backend protocol 3: the client speaks first, asks for TLS or not, and logs in without a
// password. It answers selects with one row.
func postgres(t *talk) error {
	start, be, err := postgresStart(t)
	if start == nil || err != nil {
		return err
	}
	t.spoke()
	t.note("user", start.Parameters["user"])
	t.note("database", start.Parameters["database"])
	be.Send(&pgproto3.AuthenticationOk{})
	for _, p := range [][2]string{
		{"server_version", "16.2"}, {"server_encoding", "UTF8"}, {"client_encoding", "UTF8"}, {"DateStyle", "ISO, MDY"},
		{"TimeZone", "UTC"}, {"integer_datetimes", "on"}, {"standard_conforming_strings", "on"},
	} {
		be.Send(&pgproto3.ParameterStatus{Name: p[0], Value: p[1]})
	}
	be.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := be.Flush(); err != nil {
		return err
	}
	s := pgSession{be: be, statements: map[string]string{}, portals: map[string]portal{}}
	for {
		m, err := be.Receive()
		if err != nil {
			return err
		}
		if _, end := m.(*pgproto3.Terminate); end {
			return nil
		}
		s.answer(m)
		if err := be.Flush(); err != nil {
			return err
		}
	}
}

// maxPostgres bounds a message, in bytes.
const maxPostgres = 1 << 20

func backend(t *talk) *pgproto3.Backend {
	be := pgproto3.NewBackend(t.r, t.conn)
	be.SetMaxBodyLen(maxPostgres)
	return be
}

// postgresStart reads what comes before the login; nil for a connection that wants no more.
func postgresStart(t *talk) (*pgproto3.StartupMessage, *pgproto3.Backend, error) {
	offers := t.tls != nil
	if first, err := t.r.Peek(1); err != nil {
		return nil, nil, err
	} else if first[0] == tlsHandshake && offers { // since version 17 clients may begin with TLS
		if err := t.secureBuffered(); err != nil {
			return nil, nil, err
		}
		offers = false
	}
	be := backend(t)
	for range 4 { // encryption can be asked for in two ways
		m, err := be.ReceiveStartupMessage()
		if err != nil {
			return nil, nil, err
		}
		switch m := m.(type) {
		case *pgproto3.StartupMessage:
			return m, be, nil
		case *pgproto3.SSLRequest:
			if !offers {
				err = t.say([]byte{'N'})
				break
			}
			if err = t.say([]byte{'S'}); err == nil {
				err = t.secure()
			}
			offers = false
			be = backend(t)
		case *pgproto3.GSSEncRequest:
			err = t.say([]byte{'N'})
		default: // a request to cancel a query has no answer
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, errors.New("the client asks for encryption again and again")
}

// pgSession is one that has logged in.
type pgSession struct {
	be         *pgproto3.Backend
	statements map[string]string
	portals    map[string]portal
}

type portal struct {
	sql     string
	formats []int16
}

// maxNamed bounds the statements and portals of one session.
const maxNamed = 1000

func (s *pgSession) answer(m pgproto3.FrontendMessage) {
	switch m := m.(type) {
	case *pgproto3.Query:
		row, verb := answerSQL(m.String)
		if row != nil {
			s.be.Send(describeRow(row, nil))
		}
		s.result(row, verb, nil)
		s.be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	case *pgproto3.Parse:
		if len(s.statements) >= maxNamed {
			clear(s.statements)
		}
		s.statements[m.Name] = m.Query
		s.be.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		if len(s.portals) >= maxNamed {
			clear(s.portals)
		}
		s.portals[m.DestinationPortal] = portal{s.statements[m.PreparedStatement], append([]int16(nil), m.ResultFormatCodes...)}
		s.be.Send(&pgproto3.BindComplete{})
	case *pgproto3.Describe:
		p := s.portals[m.Name]
		if m.ObjectType == 'S' {
			p = portal{sql: s.statements[m.Name]}
			s.be.Send(&pgproto3.ParameterDescription{ParameterOIDs: parameters(p.sql)})
		}
		if row, _ := answerSQL(p.sql); row != nil {
			s.be.Send(describeRow(row, p.formats))
		} else {
			s.be.Send(&pgproto3.NoData{})
		}
	case *pgproto3.Execute:
		p := s.portals[m.Portal]
		row, verb := answerSQL(p.sql)
		s.result(row, verb, p.formats)
	case *pgproto3.Close:
		s.be.Send(&pgproto3.CloseComplete{})
	case *pgproto3.Sync:
		s.be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	case *pgproto3.Flush: // everything is flushed
	default:
		s.be.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: fmt.Sprintf("this host does not answer %T", m)})
		s.be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

// Types of columns and parameters, and the binary format.
const (
	oidInt4 = 23
	oidText = 25
	binary1 = 1
)

func (s *pgSession) result(row []column, verb string, formats []int16) {
	switch {
	case verb == "":
		s.be.Send(&pgproto3.EmptyQueryResponse{})
		return
	case row != nil:
		var values [][]byte
		for i, c := range row {
			v := []byte(c.value)
			if n, ok := c.number(); ok && format(formats, i) == binary1 {
				v = binary.BigEndian.AppendUint32(nil, uint32(n))
			}
			values = append(values, v)
		}
		s.be.Send(&pgproto3.DataRow{Values: values})
		verb += " 1"
	}
	s.be.Send(&pgproto3.CommandComplete{CommandTag: []byte(verb)})
}

func describeRow(row []column, formats []int16) *pgproto3.RowDescription {
	var out pgproto3.RowDescription
	for i, c := range row {
		f := pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: oidText, DataTypeSize: -1, TypeModifier: -1, Format: format(formats, i)}
		if _, ok := c.number(); ok {
			f.DataTypeOID, f.DataTypeSize = oidInt4, 4
		}
		out.Fields = append(out.Fields, f)
	}
	return &out
}

// format of a column: one code stands for all, none for text.
func format(codes []int16, i int) int16 {
	switch {
	case len(codes) == 1:
		return codes[0]
	case i < len(codes):
		return codes[i]
	}
	return 0
}

var parameterRE = regexp.MustCompile(`\$(\d{1,3})`)

// parameters are the types of a statement's parameters, text for all.
func parameters(sql string) []uint32 {
	n := 0
	for _, m := range parameterRE.FindAllStringSubmatch(sql, -1) {
		if i, err := strconv.Atoi(m[1]); err == nil {
			n = max(n, i)
		}
	}
	out := make([]uint32, n)
	for i := range out {
		out[i] = oidText
	}
	return out
}
