package traffik

import (
	"fmt"
	"reflect"
	"strconv"
)

// ByValue makes an identifier from the value that an earlier middleware stored under key in
// the native context ([Source]) or, if there is none, in [Request.Context]: "value.user:42".
// The answer is not carried over to a nested use, where a later middleware may have stored
// another.
//
// It accepts every [fmt.Stringer], strings, integers and types based on them. nil and ""
// are absent; 0 is a value. Any other type gives an error that names it: convert the value
// in a function given to [Identify].
//
// Keys that are not strings are distinguished by their type and what fmt prints for them.
// For a nil key, or one that can't be compared, the identifier keeps an error wrapping
// [ErrConfig].
func ByValue(key any) *Identifier {
	id := &Identifier{scheme: namedScheme("value", keyName(key)), perUse: true}
	if key == nil || !reflect.TypeOf(key).Comparable() {
		id.err = configError("ByValue(%v); accepted is a comparable key that is not nil", key)
	}
	id.of = func(r *Request) (string, error) {
		var stored any
		if r.Source != nil {
			stored = r.Source.Value(key)
		}
		if stored == nil {
			stored = r.context().Value(key)
		}
		text, err := valueText(stored)
		if err != nil {
			return "", err
		}
		return part(text)
	}
	return id
}

// keyName returns the name of a context key. A pointer's address differs in each process,
// so only its type counts and, for a struct or a Stringer, its content.
func keyName(key any) string {
	if name, ok := key.(string); ok {
		return name
	}
	if v := reflect.ValueOf(key); v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() != reflect.Struct {
		if _, ok := key.(fmt.Stringer); !ok {
			return fmt.Sprintf("(%T)", key)
		}
	}
	return fmt.Sprintf("(%T)%v", key, key)
}

// valueText returns a stored value as text, "" for none.
func valueText(stored any) (string, error) {
	if isNil(stored) {
		return "", nil // the String method of a nil pointer may panic
	}
	if known, ok := stored.(fmt.Stringer); ok {
		return known.String(), nil
	}
	switch v := reflect.ValueOf(stored); {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	return "", fmt.Errorf("the value is a %T; accepted are strings, integers and fmt.Stringer", stored)
}
