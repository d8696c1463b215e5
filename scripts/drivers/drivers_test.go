// Package drivers proves that what well-known clients say first is answered by the hermetic internet: the client
// libraries that people use, in a module of their own, so that the tool does not carry them.
package drivers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"mesh-egress-conformance/framework/internet"
)

const host = "db.example"

// attempt makes a client's first exchange with the service at an address; tls is nil for a plain one.
type attempt func(ctx context.Context, addr string, tls *tls.Config) error

var attempts = map[internet.Kind]attempt{
	internet.Postgres: func(ctx context.Context, addr string, c *tls.Config) error {
		cfg, err := pgx.ParseConfig("postgres://shop:secret@" + addr + "/orders?sslmode=disable")
		if err != nil {
			return err
		}
		cfg.TLSConfig = c
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		var n int
		if err := conn.QueryRow(ctx, "select 1").Scan(&n); err != nil || n != 1 {
			return fmt.Errorf("select 1 is %d: %w", n, err)
		}
		if err := conn.QueryRow(ctx, "select 7 as n", pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil || n != 7 {
			return fmt.Errorf("select 7 is %d: %w", n, err)
		}
		return conn.Ping(ctx)
	},
	internet.MySQL: func(ctx context.Context, addr string, c *tls.Config) error {
		for _, password := range []string{"", "secret"} {
			cfg := mysql.NewConfig()
			cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName, cfg.TLS = "shop", password, "tcp", addr, "orders", c
			connector, err := mysql.NewConnector(cfg)
			if err != nil {
				return err
			}
			db := sql.OpenDB(connector)
			defer db.Close()
			if err := db.PingContext(ctx); err != nil {
				return err
			}
			var n int
			var s string
			if err := db.QueryRowContext(ctx, "SELECT 1, 'x' AS y").Scan(&n, &s); err != nil || n != 1 || s != "x" {
				return fmt.Errorf("select 1 is %d, %q: %w", n, s, err)
			}
		}
		return nil
	},
	internet.Redis: func(ctx context.Context, addr string, c *tls.Config) error {
		for _, protocol := range []int{2, 3} {
			client := redis.NewClient(&redis.Options{Addr: addr, TLSConfig: c, Protocol: protocol, Username: "shop", Password: "secret"})
			defer client.Close()
			if s, err := client.Ping(ctx).Result(); err != nil || s != "PONG" {
				return fmt.Errorf("%q: %w", s, err)
			}
			if _, err := client.Get(ctx, "k").Result(); err != redis.Nil {
				return fmt.Errorf("a key has a value: %v", err)
			}
		}
		return nil
	},
	internet.MongoDB: func(ctx context.Context, addr string, c *tls.Config) error {
		client, err := mongo.Connect(options.Client().ApplyURI("mongodb://" + addr + "/?directConnection=true").SetTLSConfig(c).SetServerSelectionTimeout(5 * time.Second))
		if err != nil {
			return err
		}
		defer client.Disconnect(ctx)
		return client.Ping(ctx, nil)
	},
	internet.Kafka: func(ctx context.Context, addr string, c *tls.Config) error {
		opts := []kgo.Opt{kgo.SeedBrokers(addr), kgo.ClientID("shop"), kgo.RetryTimeout(5 * time.Second), kgo.Dialer(func(ctx context.Context, network, asked string) (net.Conn, error) {
			if h, _, err := net.SplitHostPort(asked); err != nil || h != host && asked != addr {
				return nil, fmt.Errorf("the broker calls itself %s", asked)
			}
			if c != nil {
				return (&tls.Dialer{Config: c}).DialContext(ctx, network, addr)
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		})}
		client, err := kgo.NewClient(opts...)
		if err != nil {
			return err
		}
		defer client.Close()
		return client.Ping(ctx)
	},
	internet.AMQP: func(_ context.Context, addr string, c *tls.Config) error {
		scheme := "amqp"
		if c != nil {
			scheme = "amqps"
		}
		conn, err := amqp.DialConfig(scheme+"://shop:secret@"+addr+"/", amqp.Config{TLSClientConfig: c, Locale: "en_US"})
		if err != nil {
			return err
		}
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if q, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil || q.Name != "orders" {
			return fmt.Errorf("queue %q: %w", q.Name, err)
		}
		return conn.Close()
	},
	internet.SMTP: func(_ context.Context, addr string, c *tls.Config) error {
		client, err := smtp.Dial(addr)
		if err != nil {
			return err
		}
		defer client.Close()
		if c != nil {
			if err := client.StartTLS(c); err != nil {
				return err
			}
			if err := client.Auth(smtp.PlainAuth("", "shop", "secret", addr[:len(addr)-len(":00000")])); err != nil {
				return err
			}
		} else if ok, _ := client.Extension("STARTTLS"); ok {
			return fmt.Errorf("STARTTLS is offered")
		}
		if err := client.Mail("a@shop.example"); err != nil {
			return err
		}
		if err := client.Rcpt("b@shop.example"); err != nil {
			return err
		}
		w, err := client.Data()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprint(w, "Subject: x\r\n\r\n.dot\r\n"); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		return client.Quit()
	},
}

func TestFirstExchange(t *testing.T) {
	at := netip.AddrFrom4([4]byte{127, 78, byte(os.Getpid() >> 8), byte(os.Getpid())})
	h := internet.Host{Name: host, Address: internet.Addresses{netip.PrefixFrom(at, 32)}}
	port := uint16(20000)
	ports := map[internet.Kind][2]uint16{}
	for _, k := range internet.Kinds() {
		if attempts[k] == nil {
			continue
		}
		ports[k] = [2]uint16{port, port + 1}
		h.Services = append(h.Services, internet.Service{Port: port, Kind: k}, internet.Service{Port: port + 1, Kind: k, TLS: true})
		port += 2
	}
	if len(ports) != len(attempts) {
		t.Fatalf("%d of %d kinds are known", len(ports), len(attempts))
	}
	ca, err := internet.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := internet.NewServer(&internet.Hosts{Hosts: []internet.Host{h}}, ca)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(ca.CertPEM)
	for k, f := range attempts {
		for i, c := range []*tls.Config{nil, {RootCAs: trust, ServerName: host}} {
			t.Run(fmt.Sprintf("%s, TLS %t", k, c != nil), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if err := f(ctx, netip.AddrPortFrom(at, ports[k][i]).String(), c); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
