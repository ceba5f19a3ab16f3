package traffik

import (
	"fmt"
	"reflect"
	"strconv"
)

// ByValue makes an identifier from what an earlier middleware stored under key
// in the native context ([Source]) or, if there is nothing, in
// [Request.Context]: "value.user:42".
//
// Strings, integers, types made of them, and every fmt.Stringer (which goes
// first) are accepted; nil and "" are absent, 0 is a value like others. Another
// type is a failure that names it: convert it in a function given to
// [Identify]. The answer is never carried over to a nested use, where a later
// middleware may have stored another.
//
// A nil key, or one that can't be compared, is an error wrapping [ErrConfig],
// kept. Keys that are not strings are told apart by their type and what fmt
// prints for them.
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

// keyName is the name of a context key. The address in a pointer would be
// another in each process, so of a pointer only its type and, for a struct or a
// Stringer, its content takes part.
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

// valueText renders what was stored, "" for nothing.
func valueText(stored any) (string, error) {
	switch known := stored.(type) {
	case nil:
		return "", nil
	case string:
		return known, nil
	case int:
		return strconv.Itoa(known), nil
	}
	v := reflect.ValueOf(stored)
	if v.Kind() == reflect.Pointer && v.IsNil() {
		return "", nil // a typed nil, whose String method may not survive it
	}
	if known, ok := stored.(fmt.Stringer); ok {
		return known.String(), nil
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String(), nil
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), nil
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), nil
	}
	return "", fmt.Errorf("the value is a %T; accepted are strings, integers and fmt.Stringer", stored)
}
