package internet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Frames and methods of AMQP 0-9-1 (the specification's class and method numbers, class in the upper half).
const (
	amqpMethod    = 1
	amqpHeartbeat = 8
	amqpEnd       = 0xce
	maxAMQP       = 131072 // bytes of a frame

	amqpStart           = 10<<16 | 10
	amqpStartOK         = 10<<16 | 11
	amqpTune            = 10<<16 | 30
	amqpTuneOK          = 10<<16 | 31
	amqpOpen            = 10<<16 | 40
	amqpOpenOK          = 10<<16 | 41
	amqpClose           = 10<<16 | 50
	amqpCloseOK         = 10<<16 | 51
	amqpChannelOpen     = 20<<16 | 10
	amqpChannelOpenOK   = 20<<16 | 11
	amqpChannelClose    = 20<<16 | 40
	amqpChannelCloseOK  = 20<<16 | 41
	amqpExchangeDeclare = 40<<16 | 10
	amqpQueueDeclare    = 50<<16 | 10
	amqpBasicPublish    = 60<<16 | 40

	amqpNotImplemented = 540
)

// amqpProtocol is the first that a client says, and what a server answers to another version.
const amqpProtocol = "AMQP\x00\x00\x09\x01"

// amqp speaks AMQP 0-9-1 as RabbitMQ does: the client speaks first. Every user may come in, channels open, and queues and
// exchanges are whatever the client declares.
func amqp(t *talk) error {
	head := make([]byte, len(amqpProtocol))
	if _, err := io.ReadFull(t.r, head); err != nil {
		return err
	}
	if string(head) != amqpProtocol {
		return errors.Join(fmt.Errorf("it begins with %q, not with AMQP 0-9-1", head), t.say([]byte(amqpProtocol)))
	}
	t.spoke()
	start := []byte{0, 9} // version
	start = append(start, longstr("\x07productS"+string(longstr("mesh-egress-conformance")))...)
	start = append(append(start, longstr("PLAIN AMQPLAIN EXTERNAL")...), longstr("en_US")...)
	if err := t.method(0, amqpStart, start); err != nil {
		return err
	}
	for {
		kind, channel, payload, err := amqpFrame(t.r)
		if err != nil {
			return err
		}
		if kind == amqpHeartbeat {
			err = t.say([]byte{amqpHeartbeat, 0, 0, 0, 0, 0, 0, amqpEnd})
		}
		if kind != amqpMethod || err != nil { // the content of a message is nobody's here
			if err != nil {
				return err
			}
			continue
		}
		if len(payload) < 4 {
			return errors.New("a method that ends too soon")
		}
		end, err := t.amqpAnswer(channel, binary.BigEndian.Uint32(payload), payload[4:])
		if err != nil || end {
			return err
		}
	}
}

// amqpAnswer answers a method; it says whether that was the last.
func (t *talk) amqpAnswer(channel uint16, method uint32, args []byte) (end bool, err error) {
	switch method {
	case amqpStartOK:
		t.note("user", plainUser(args))
		return false, t.method(0, amqpTune, []byte{0x07, 0xff, 0, 2, 0, 0, 0, 60}) // channels, frame size, heartbeat
	case amqpTuneOK, amqpCloseOK, amqpChannelCloseOK, amqpBasicPublish:
		return method == amqpCloseOK, nil
	case amqpOpen:
		vhost, _ := shortstr(args)
		t.note("vhost", vhost)
		return false, t.method(0, amqpOpenOK, []byte{0})
	case amqpClose:
		return true, t.method(0, amqpCloseOK, nil)
	case amqpChannelOpen:
		return false, t.method(channel, amqpChannelOpenOK, longstr(""))
	case amqpChannelClose:
		return false, t.method(channel, amqpChannelCloseOK, nil)
	case amqpExchangeDeclare:
		return false, t.method(channel, method+1, nil)
	case amqpQueueDeclare:
		name := "queue"
		if len(args) > 2 {
			if n, _ := shortstr(args[2:]); n != "" {
				name = n
			}
		}
		return false, t.method(channel, method+1, append(append([]byte{byte(len(name))}, name...), make([]byte, 8)...))
	}
	text := fmt.Sprintf("NOT_IMPLEMENTED: this host does not answer method %d.%d", method>>16, method&0xffff)
	out := binary.BigEndian.AppendUint16(nil, amqpNotImplemented)
	out = append(append(append(out, byte(len(text))), text...), binary.BigEndian.AppendUint32(nil, method)...)
	return false, t.method(0, amqpClose, out)
}

// method sends a method frame.
func (t *talk) method(channel uint16, method uint32, args []byte) error {
	b := binary.BigEndian.AppendUint16([]byte{amqpMethod}, channel)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(args)))
	b = binary.BigEndian.AppendUint32(b, method)
	return t.say(append(append(b, args...), amqpEnd))
}

func amqpFrame(r io.Reader) (kind byte, channel uint16, payload []byte, err error) {
	var head [7]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[3:])
	if n > maxAMQP {
		return 0, 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, n+1)
	if _, err := io.ReadFull(r, b); err != nil {
		return 0, 0, nil, err
	}
	if b[n] != amqpEnd {
		return 0, 0, nil, errors.New("a frame without its end")
	}
	return head[0], binary.BigEndian.Uint16(head[1:]), b[:n], nil
}

func longstr(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// shortstr reads a string of at most 255 bytes and returns what follows.
func shortstr(b []byte) (string, []byte) {
	if len(b) == 0 || int(b[0]) > len(b)-1 {
		return "", nil
	}
	return string(b[1 : 1+int(b[0])]), b[1+int(b[0]):]
}

// plainUser is the user in the response of mechanism PLAIN; "" for others. The client's properties stand before it.
func plainUser(args []byte) string {
	if len(args) < 4 {
		return ""
	}
	n := binary.BigEndian.Uint32(args)
	if uint64(n)+4 > uint64(len(args)) {
		return ""
	}
	mechanism, rest := shortstr(args[4+n:])
	if mechanism != "PLAIN" || len(rest) < 4 {
		return ""
	}
	parts := strings.Split(string(rest[4:]), "\x00")
	if len(parts) < 2 {
		return ""
	}
	return parts[1]
}
