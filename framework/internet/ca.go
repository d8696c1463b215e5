package internet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// Flaw is what is wrong with a certificate on purpose; "" is nothing.
type Flaw string

// The flaws.
const (
	Sound      Flaw = ""
	Expired    Flaw = "expired"     // its time ended an hour ago
	SelfSigned Flaw = "self-signed" // signed by itself, by no authority
	WrongName  Flaw = "wrong-name"  // of another name than the host's
	OtherCA    Flaw = "other-ca"    // of an authority that no placeholder gives
)

func (f Flaw) known() bool {
	switch f {
	case Sound, Expired, SelfSigned, WrongName, OtherCA:
		return true
	}
	return false
}

// wrongName is what a certificate of the wrong name is made for.
const wrongName = "wrong-name.example"

// lifetime is how long authorities and certificates are valid, in both directions from the time of a run: an hour back,
// for clocks that differ.
const (
	validBefore = time.Hour
	validAfter  = 24 * time.Hour
)

// maxLeaves bounds the certificates that an authority remembers: clients may ask for any name below a wildcard.
const maxLeaves = 4096

// CA is a certificate authority of one run. Its key never leaves memory and pipes.
type CA struct {
	CertPEM []byte `json:"cert"`
	KeyPEM  []byte `json:"key"`

	mu     sync.Mutex
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	leaves map[string]*tls.Certificate
	named  map[string]*CA
}

// NewCA makes a certificate authority that is valid for a day.
func NewCA(name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of CA %s: %w", name, err)
	}
	return newCA(name, key)
}

func newCA(name string, key *ecdsa.PrivateKey) (*CA, error) {
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-validBefore), NotAfter: time.Now().Add(validAfter),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make CA %s: %w", name, err)
	}
	kder, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of CA %s: %w", name, err)
	}
	return &CA{CertPEM: certPEM(der), KeyPEM: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: kder})}, nil
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (ca *CA) load() error {
	if ca.cert != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(ca.CertPEM, ca.KeyPEM)
	if err != nil {
		return fmt.Errorf("load the run's CA: %w", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("load the run's CA: its key is a %T, wanted ECDSA", pair.PrivateKey)
	}
	ca.cert, ca.key, ca.leaves, ca.named = pair.Leaf, key, map[string]*tls.Certificate{}, map[string]*CA{}
	return nil
}

// Named returns the authority of a name, "" the CA itself. Whoever has the CA gets the same authority for the same
// name, so that the parts of an internet in several processes need not tell each other. It is no
// intermediate: who trusts the one does not trust the other.
func (ca *CA) Named(name string) (*CA, error) {
	if name == "" {
		return ca, nil
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if err := ca.load(); err != nil {
		return nil, err
	}
	if x := ca.named[name]; x != nil {
		return x, nil
	}
	secret, err := ca.key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("derive CA %s: %w", name, err)
	}
	x, err := derive(secret, name)
	if err != nil {
		return nil, fmt.Errorf("derive CA %s: %w", name, err)
	}
	ca.named[name] = x
	return x, nil
}

// derive makes an authority whose key follows from a secret and a name.
func derive(secret []byte, name string) (*CA, error) {
	for try := range 8 { // a candidate is no key once in 2^32
		b, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("mesh-egress-conformance CA %d %s", try, name), 32)
		if err != nil {
			return nil, err
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), b); err == nil {
			return newCA("mesh-egress-conformance CA "+name, key)
		}
	}
	return nil, errors.New("no key follows from the name")
}

// Leaf returns a server and client certificate for a set of names, with a flaw or without, made once for the same set.
func (ca *CA) Leaf(flaw Flaw, names ...string) (*tls.Certificate, error) {
	switch flaw {
	case Sound, Expired, SelfSigned:
	case WrongName:
		names = []string{wrongName}
	case OtherCA:
		other, err := ca.Named("that nobody trusts: other-ca") // no authority of a file can be called so
		if err != nil {
			return nil, err
		}
		return other.Leaf(Sound, names...)
	default:
		return nil, fmt.Errorf("certificate %q is unknown", flaw)
	}
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if err := ca.load(); err != nil {
		return nil, err
	}
	id := strings.Join(append([]string{string(flaw)}, names...), " ")
	if l := ca.leaves[id]; l != nil {
		return l, nil
	}
	leaf, err := ca.sign(flaw, names)
	if err != nil {
		return nil, fmt.Errorf("make a certificate for %s: %w", names[0], err)
	}
	if len(ca.leaves) >= maxLeaves {
		clear(ca.leaves)
	}
	ca.leaves[id] = leaf
	return leaf, nil
}

func (ca *CA) sign(flaw Flaw, names []string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: now.Add(-validBefore), NotAfter: now.Add(validAfter),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	parent, signer := ca.cert, ca.key
	switch flaw {
	case Expired:
		tmpl.NotBefore, tmpl.NotAfter = now.Add(-48*time.Hour), now.Add(-time.Hour)
	case SelfSigned:
		parent, signer = tmpl, key
	case Sound, WrongName, OtherCA:
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	chain := [][]byte{der}
	if flaw != SelfSigned {
		chain = append(chain, ca.cert.Raw)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key}, nil
}

// pair makes a client certificate with its key, both PEM.
func (ca *CA) pair(flaw Flaw, name string) (cert, key []byte, err error) {
	leaf, err := ca.Leaf(flaw, name)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the key of %s: %w", name, err)
	}
	return certPEM(leaf.Certificate[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Pool holds the CA alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(ca.CertPEM)
	return p
}

// clientName is the name in the client certificate of ${CLIENT_CERT}.
const clientName = "client.example"

// Secrets are what the placeholders of the hosts stand for, as PEM; see Hosts.Placeholders.
func (ca *CA) Secrets(h *Hosts) (map[string]string, error) {
	out := map[string]string{}
	for _, n := range append([]string{""}, h.authorities()...) {
		x, err := ca.Named(n)
		if err != nil {
			return nil, err
		}
		out[caPlaceholder(n)] = string(x.CertPEM)
	}
	pair := func(placeholder string, c ClientCertificate) error {
		by, err := ca.Named(c.CA)
		if err != nil {
			return err
		}
		cert, key, err := by.pair(c.Certificate, c.Name)
		out[certPlaceholder(placeholder)], out[keyPlaceholder(placeholder)] = string(cert), string(key)
		return err
	}
	if err := pair("", ClientCertificate{Name: clientName}); err != nil {
		return nil, err
	}
	for _, c := range h.ClientCertificates {
		if err := pair(c.Name, c); err != nil {
			return nil, err
		}
	}
	return out, nil
}
