package count

import (
	"encoding/binary"
	"math"
)

// A stored state is one tag byte, which names algorithm and layout, and then float64
// fields, little-endian, each a whole number from 0 to 2^53. They are floats because
// Redis' Lua reads and writes those exactly with struct.pack("<d").

// AppendState appends a state. Each field lies in 0..2^53.
func AppendState(dst []byte, tag byte, fields ...int64) []byte {
	dst = append(dst, tag)
	for _, v := range fields {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(float64(v)))
	}
	return dst
}

// AppendField appends one field, which lies in 0..2^53.
func AppendField(dst []byte, v int64) []byte {
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	PutField(dst[len(dst)-8:], v)
	return dst
}

// PutField writes one field to the front of b, which has 8 bytes or more.
func PutField(b []byte, v int64) {
	binary.LittleEndian.PutUint64(b, math.Float64bits(float64(v)))
}

// ReadState fills fields from a state that carries tag. It reports false for any other
// tag or length and for a field that is no whole number in range: the key then reads as
// untouched. The last field is left alone in that case.
func ReadState(state []byte, tag byte, fields ...*int64) bool {
	if len(state) != 1+8*len(fields) || state[0] != tag {
		return false
	}
	for i, field := range fields {
		v, ok := ReadField(state[1+8*i:])
		if !ok {
			return false
		}
		*field = v
	}
	return true
}

// ReadField reads one field off the front of b, which has 8 bytes or more.
func ReadField(b []byte) (v int64, ok bool) {
	f := math.Float64frombits(binary.LittleEndian.Uint64(b))
	// False for NaN and both infinities, whose conversion yields anything.
	if !(f >= 0 && f <= MaxUnits) {
		return 0, false
	}
	v = int64(f)
	return v, float64(v) == f
}
