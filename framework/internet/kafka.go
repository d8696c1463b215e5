package internet

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys of the requests that are answered, and the newest version of each.
const (
	kafkaMetadata    = 3
	kafkaAPIVersions = 18

	kafkaMetadataMax    = 12
	kafkaAPIVersionsMax = 3
)

// kafkaUnsupported is the code UNSUPPORTED_VERSION.
const kafkaUnsupported = 35

// maxKafka bounds a request, in bytes.
const maxKafka = 1 << 20

// kafka speaks the broker's protocol: the client speaks first, asks for the versions, and then for the brokers and topics.
// This host is the only broker, under its own name, and leads every topic that is asked for.
func kafka(t *talk) error {
	for {
		var size [4]byte
		if _, err := io.ReadFull(t.r, size[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n < 8 || n > maxKafka {
			return fmt.Errorf("a request of %d bytes", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(t.r, b); err != nil {
			return err
		}
		out, err := kafkaAnswer(t, b)
		if err != nil {
			return err
		}
		if err := t.say(append(binary.BigEndian.AppendUint32(nil, uint32(len(out))), out...)); err != nil {
			return err
		}
	}
}

func kafkaAnswer(t *talk, b []byte) ([]byte, error) {
	key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
	req := kmsg.RequestForKey(key)
	if req == nil {
		return nil, fmt.Errorf("a request with the unknown key %d", key)
	}
	out := append([]byte(nil), b[4:8]...) // the correlation id
	newest := map[int16]int16{kafkaMetadata: kafkaMetadataMax, kafkaAPIVersions: kafkaAPIVersionsMax}
	most, answered := newest[key]
	switch {
	case key == kafkaAPIVersions && (version < 0 || version > most): // said in version 0, which every client reads
		resp := kafkaVersions(newest)
		resp.ErrorCode = kafkaUnsupported
		return resp.AppendTo(out), nil
	case !answered || version < 0 || version > most:
		return nil, fmt.Errorf("a request with key %d (%s), version %d, which this host does not answer", key, kmsg.NameForKey(key), version)
	}
	req.SetVersion(version)
	client, body, err := kafkaHeader(b[8:], req.IsFlexible())
	if err != nil {
		return nil, err
	}
	if err := req.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("a %s request that cannot be read: %w", kmsg.NameForKey(key), err)
	}
	t.spoke()
	t.note("clientId", client)
	var resp kmsg.Response = kafkaVersions(newest)
	if m, is := req.(*kmsg.MetadataRequest); is {
		resp = t.metadata(m)
		if req.IsFlexible() {
			out = append(out, 0) // no tags; the answer about versions never has any
		}
	}
	resp.SetVersion(version)
	return resp.AppendTo(out), nil
}

// kafkaHeader reads what stands between a request's correlation id and its body.
func kafkaHeader(b []byte, flexible bool) (client string, body []byte, err error) {
	if len(b) < 2 {
		return "", nil, io.ErrUnexpectedEOF
	}
	n := int(int16(binary.BigEndian.Uint16(b)))
	b = b[2:]
	if n > len(b) {
		return "", nil, io.ErrUnexpectedEOF
	}
	if n > 0 { // -1 is none
		client, b = string(b[:n]), b[n:]
	}
	if !flexible {
		return client, b, nil
	}
	next := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err = io.ErrUnexpectedEOF
			return 0
		}
		b = b[n:]
		return v
	}
	for tags := next(); tags > 0 && err == nil; tags-- {
		next()
		size := next()
		if size > uint64(len(b)) {
			return "", nil, io.ErrUnexpectedEOF
		}
		b = b[size:]
	}
	return client, b, err
}

func kafkaVersions(newest map[int16]int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	for _, k := range []int16{kafkaMetadata, kafkaAPIVersions} {
		resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MaxVersion: newest[k]})
	}
	return resp
}

func (t *talk) metadata(m *kmsg.MetadataRequest) kmsg.Response {
	const me = 1
	resp := kmsg.NewPtrMetadataResponse()
	resp.ControllerID = me
	cluster := "mesh-egress-conformance"
	resp.ClusterID = &cluster
	broker := kmsg.NewMetadataResponseBroker()
	broker.NodeID, broker.Host, broker.Port = me, t.name(), int32(t.svc.Port)
	if _, port, err := net.SplitHostPort(t.conn.LocalAddr().String()); err == nil {
		if p, err := strconv.ParseUint(port, 10, 16); err == nil {
			broker.Port = int32(p)
		}
	}
	resp.Brokers = append(resp.Brokers, broker)
	for _, asked := range m.Topics {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID = asked.Topic, asked.TopicID
		p := kmsg.NewMetadataResponseTopicPartition()
		p.Leader, p.Replicas, p.ISR = me, []int32{me}, []int32{me}
		topic.Partitions = append(topic.Partitions, p)
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}
