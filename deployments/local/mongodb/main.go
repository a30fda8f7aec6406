// The MongoDB wire protocol over SQLite files, for tests and development: FerretDB, embedded, behind turns.go.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "the address to listen on")
	data := flag.String("data", "data", "the directory of the SQLite files; it must exist")
	secured := flag.String("tls", "", "the address to listen on by TLS")
	certificate := flag.String("certificate", "", "the certificate (PEM) for TLS")
	key := flag.String("key", "", "the key (PEM) of the certificate")
	flag.Parse()
	listeners, err := open(*listen, *secured, *certificate, *key)
	if err == nil {
		err = serve(listeners, *data)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mongodb:", err)
		os.Exit(1)
	}
}

// open takes the addresses: the plain one, and the one for TLS if there is one.
func open(listen, secured, certificate, key string) ([]net.Listener, error) {
	plain, err := net.Listen("tcp", listen)
	if err != nil || secured == "" {
		return []net.Listener{plain}, err
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", secured, &tls.Config{Certificates: []tls.Certificate{pair}})
	return []net.Listener{plain, listener}, err
}

func serve(listeners []net.Listener, data string) error {
	directory, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	// What is written outlives this process, but not a loss of power: nobody syncs for tests. The rest is FerretDB's default.
	pragmas := url.Values{"_pragma": {"journal_mode(wal)", "busy_timeout(10000)", "synchronous(normal)"}}
	files := url.URL{Scheme: "file", Path: directory + "/", OmitHost: true, RawQuery: pragmas.Encode()}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Handler:   "sqlite",
		SQLiteURL: files.String(),
	})
	if err != nil {
		return err
	}
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	backend, err := url.Parse(server.MongoDBURI())
	if err != nil {
		return err
	}
	commands := &turns{backend: backend.Host}
	accepted := make(chan error, len(listeners))
	for _, listener := range listeners {
		context.AfterFunc(stop, func() { listener.Close() })
		go func() {
			defer cancel()
			accepted <- accept(listener, commands)
		}()
	}
	if err := server.Run(stop); err != nil {
		return err
	}
	return <-accepted
}

// accept serves connections until the listener is closed.
func accept(listener net.Listener, commands *turns) error {
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go commands.serve(client)
	}
}
