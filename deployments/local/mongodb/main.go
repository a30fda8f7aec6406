// The MongoDB wire protocol over SQLite files, for tests and development: FerretDB, embedded, behind turns.go.
package main

import (
	"context"
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
	flag.Parse()
	if err := serve(*listen, *data); err != nil {
		fmt.Fprintln(os.Stderr, "mongodb:", err)
		os.Exit(1)
	}
}

func serve(listen, data string) error {
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
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	context.AfterFunc(stop, func() { listener.Close() })
	accepted := make(chan error, 1)
	go func() {
		defer cancel()
		accepted <- accept(listener, server)
	}()
	if err := server.Run(stop); err != nil {
		return err
	}
	return <-accepted
}

// accept serves connections until the listener is closed.
func accept(listener net.Listener, server *ferretdb.FerretDB) error {
	backend, err := url.Parse(server.MongoDBURI())
	if err != nil {
		return err
	}
	commands := turns{backend: backend.Host}
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
