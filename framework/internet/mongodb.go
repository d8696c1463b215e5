package internet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// Operations of MongoDB's wire protocol, and flags of the newest.
const (
	mongoReply = 1
	mongoQuery = 2004
	mongoMsg   = 2013

	mongoMoreToCome = 1 << 1

	mongoHeader = 16
	maxMongo    = 1 << 20 // bytes of a message
)

// mongodb speaks the wire protocol: the client speaks first, and says hello, in the old way or the new. Commands other
// than that, ping and buildInfo are refused, as a server of few powers does.
func mongodb(t *talk) error {
	for {
		head := make([]byte, mongoHeader)
		if _, err := io.ReadFull(t.r, head); err != nil {
			return err
		}
		n := int(int32(binary.LittleEndian.Uint32(head)))
		if n < mongoHeader || n > maxMongo {
			return fmt.Errorf("a message of %d bytes", n)
		}
		body := make([]byte, n-mongoHeader)
		if _, err := io.ReadFull(t.r, body); err != nil {
			return err
		}
		op := binary.LittleEndian.Uint32(head[12:])
		doc, silent, err := mongoCommand(op, body)
		if err != nil {
			return err
		}
		t.spoke()
		if silent {
			continue
		}
		answer := mongoAnswer(doc)
		var out []byte
		reply := uint32(mongoMsg)
		if op == mongoQuery {
			reply = mongoReply
			out = append(make([]byte, 16), 1, 0, 0, 0) // flags, cursor, start; one document
		} else {
			out = make([]byte, 5) // flags; a section with one document
		}
		out = append(out, answer...)
		msg := binary.LittleEndian.AppendUint32(nil, uint32(mongoHeader+len(out)))
		msg = append(append(msg, 1, 0, 0, 0), head[4:8]...)
		msg = binary.LittleEndian.AppendUint32(msg, reply)
		if err := t.say(append(msg, out...)); err != nil {
			return err
		}
	}
}

// mongoCommand is the name of the command in a message, and whether the client wants no answer.
func mongoCommand(op uint32, b []byte) (name string, silent bool, err error) {
	errShort := errors.New("a message that ends too soon")
	if len(b) < 5 {
		return "", false, errShort
	}
	switch op {
	case mongoMsg:
		silent = binary.LittleEndian.Uint32(b)&mongoMoreToCome != 0
		if b[4] != 0 {
			return "", false, errors.New("a message that does not begin with its command")
		}
		b = b[5:]
	case mongoQuery:
		end := bytes.IndexByte(b[4:], 0)
		if end < 0 || len(b) < 4+end+1+8 {
			return "", false, errShort
		}
		b = b[4+end+1+8:]
	default:
		return "", false, fmt.Errorf("operation %d, which this host does not answer", op)
	}
	if len(b) < 6 { // length and type of the first element, whose name is the command's
		return "", false, errShort
	}
	raw, _, found := bytes.Cut(b[5:], []byte{0})
	if !found {
		return "", false, errShort
	}
	return string(raw), silent, nil
}

func mongoAnswer(command string) []byte {
	var d document
	switch strings.ToLower(command) {
	case "hello", "ismaster":
		d.boolean("helloOk", true)
		d.boolean("ismaster", true)
		d.boolean("isWritablePrimary", true)
		d.int32("maxBsonObjectSize", 16<<20)
		d.int32("maxMessageSizeBytes", 48_000_000)
		d.int32("maxWriteBatchSize", 100_000)
		d.date("localTime", time.Now())
		d.int32("minWireVersion", 0)
		d.int32("maxWireVersion", 21)
		d.boolean("readOnly", false)
	case "buildinfo":
		d.text("version", "7.0.5")
	case "ping", "endsessions":
	default:
		d.double("ok", 0)
		d.text("errmsg", "no such command: '"+command+"'")
		d.int32("code", 59)
		d.text("codeName", "CommandNotFound")
		return d.bytes()
	}
	d.double("ok", 1)
	return d.bytes()
}

// document is BSON in the making (bsonspec.org).
type document struct{ b []byte }

func (d *document) element(kind byte, name string) {
	d.b = append(append(append(d.b, kind), name...), 0)
}

func (d *document) double(name string, v float64) {
	d.element(0x01, name)
	d.b = binary.LittleEndian.AppendUint64(d.b, math.Float64bits(v))
}

func (d *document) text(name, v string) {
	d.element(0x02, name)
	d.b = binary.LittleEndian.AppendUint32(d.b, uint32(len(v)+1))
	d.b = append(append(d.b, v...), 0)
}

func (d *document) boolean(name string, v bool) {
	d.element(0x08, name)
	if v {
		d.b = append(d.b, 1)
	} else {
		d.b = append(d.b, 0)
	}
}

func (d *document) date(name string, v time.Time) {
	d.element(0x09, name)
	d.b = binary.LittleEndian.AppendUint64(d.b, uint64(v.UnixMilli()))
}

func (d *document) int32(name string, v int32) {
	d.element(0x10, name)
	d.b = binary.LittleEndian.AppendUint32(d.b, uint32(v))
}

func (d *document) bytes() []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(d.b)+5)), d.b...), 0)
}
