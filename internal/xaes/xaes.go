// Package xaes implements [XAES-256-GCM]: AES-256-GCM under a key that is derived for each message from half of a nonce
// of 192 bits. So nonces can be chosen at random for 2^80 messages of one key. With the 96 bits of AES-GCM alone it
// would be 2^32, which is five days for a service that seals 10,000 messages a second.
//
// [XAES-256-GCM]: https://c2sp.org/XAES-256-GCM
package xaes

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
)

// Sizes in bytes.
const (
	KeySize  = 32
	Overhead = 2*halfSize + tagSize // of a sealed message over the plain one

	halfSize = 12 // of the nonce
	tagSize  = 16
)

var errShort = errors.New("xaes: too short for a sealed message")

// Key seals and opens messages. It is safe for concurrent use.
type Key struct {
	block cipher.Block
	k1    [aes.BlockSize]byte // the subkey of CMAC for messages of whole blocks
}

// New returns a key of [KeySize] bytes. It panics for another size.
func New(key []byte) *Key {
	if len(key) != KeySize {
		panic(fmt.Sprintf("xaes: a key of %d bytes: must have %d", len(key), KeySize))
	}
	k := &Key{block: newAES(key)}
	k.block.Encrypt(k.k1[:], k.k1[:])
	var carry byte
	for i := len(k.k1) - 1; i >= 0; i-- {
		carry, k.k1[i] = k.k1[i]>>7, k.k1[i]<<1|carry
	}
	k.k1[len(k.k1)-1] ^= carry * 0x87 // no branch on what is secret
	return k
}

// Seal appends a random nonce and the sealed message to dst. To open it takes the same additional data.
func (k *Key) Seal(dst, plain, additional []byte) []byte {
	var half [halfSize]byte
	_, _ = rand.Read(half[:]) // never fails
	dst = append(dst, half[:]...)
	return k.gcm(half[:]).Seal(dst, nil, plain, additional) //nolint:gosec // nil has it make a random nonce
}

// Open returns the message that Seal has sealed. Any other input is an error.
func (k *Key) Open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, errShort
	}
	return k.gcm(sealed[:halfSize]).Open(nil, nil, sealed[halfSize:], additional)
}

// gcm returns the AEAD for the messages whose nonce begins with a half. It makes the other half itself, and puts that
// in front.
func (k *Key) gcm(half []byte) cipher.AEAD {
	subkey := k.derive(half)
	aead, err := cipher.NewGCMWithRandomNonce(newAES(subkey[:]))
	if err != nil {
		panic(err) // cannot happen: the block cipher is AES
	}
	return aead
}

// derive is the key derivation of NIST SP 800-108r1 in counter mode with CMAC, whose messages are one block here.
func (k *Key) derive(half []byte) (subkey [KeySize]byte) {
	for i := range 2 {
		block := subkey[i*aes.BlockSize : (i+1)*aes.BlockSize]
		block[1], block[2] = byte(i+1), 'X' // a counter of 16 bits, the label, and a zero
		copy(block[4:], half)
		subtle.XORBytes(block, block, k.k1[:])
		k.block.Encrypt(block, block)
	}
	return subkey
}

func newAES(key []byte) cipher.Block {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // cannot happen: the key has the right size
	}
	return block
}
