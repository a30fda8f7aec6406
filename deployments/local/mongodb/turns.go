// Commands, one at a time.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

const (
	headerLength   = 16
	longestMessage = 48_000_000
	opMsg          = 2013
	// In the flags of an OP_MSG: nobody waits for an answer.
	moreToCome = 1 << 1
)

// turns lets one command at a time through to the backend, whose address it has.
//
// FerretDB on SQLite finds the documents of a command in one step and writes them in another: of two commands at once both
// can find the version that they expect, and both are told that they replaced it. A MongoDB server never does that, and
// every compare-and-set rests on it.
type turns struct {
	backend string
	turn    sync.Mutex
}

func (t *turns) serve(client net.Conn) {
	defer client.Close()
	backend, err := net.Dial("tcp", t.backend)
	if err != nil {
		return
	}
	defer backend.Close()
	for {
		command, err := message(client)
		if err != nil {
			return
		}
		answer, err := t.ask(backend, command)
		if err != nil {
			return
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// ask passes a command on and waits for its answer, which is empty if there is none.
func (t *turns) ask(backend net.Conn, command []byte) ([]byte, error) {
	t.turn.Lock()
	defer t.turn.Unlock()
	if _, err := backend.Write(command); err != nil {
		return nil, err
	}
	if isSilent(command) {
		return nil, nil
	}
	return message(backend)
}

// message reads a message of the wire protocol: its length, in all, comes first.
func message(from io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(from, length[:]); err != nil {
		return nil, err
	}
	all := binary.LittleEndian.Uint32(length[:])
	if all < headerLength || all > longestMessage {
		return nil, fmt.Errorf("a message of %d bytes", all)
	}
	whole := make([]byte, all)
	copy(whole, length[:])
	_, err := io.ReadFull(from, whole[len(length):])
	return whole, err
}

func isSilent(command []byte) bool {
	return len(command) >= headerLength+4 &&
		binary.LittleEndian.Uint32(command[12:]) == opMsg &&
		binary.LittleEndian.Uint32(command[headerLength:])&moreToCome != 0
}
