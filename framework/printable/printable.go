// Package printable makes text from elsewhere (case files, curl, servers, logs) safe to show. Control characters
// can make a terminal do and hide things, bidirectional ones show text in another order than it has, and XML 1.0
// has no way to write most of them: each is replaced by its escape, such as \x1b or \u202e.
package printable

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text escapes what is not graphic, except line feeds and tabs. CR LF becomes LF, a byte that is not UTF-8 \xNN.
func Text(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n")) }

// Line is Text for one line: line feeds and tabs become spaces.
func Line(s string) string {
	return strings.NewReplacer("\n", " ", "\t", " ").Replace(Text(s))
}

// JSON escapes an encoded document in JSON's own way, so that it stays the same document.
func JSON(b []byte) []byte {
	var out []byte
	for i, w := 0, 0; i < len(b); i += w {
		var r rune
		r, w = utf8.DecodeRune(b[i:])
		switch {
		case safe(r) || r == '\r':
			out = append(out, b[i:i+w]...)
		case r > 0xffff: // a pair of surrogates
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

func safe(r rune) bool { return r == '\n' || r == '\t' || unicode.IsGraphic(r) }

func escape(s string) string {
	clean := utf8.ValidString(s)
	for _, r := range s {
		clean = clean && safe(r)
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i, w := 0, 0; i < len(s); i += w {
		var r rune
		r, w = utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && w == 1, r < utf8.RuneSelf && !safe(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case safe(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Writer passes Text of what is written to it on. It is for messages; a program that draws needs the terminal itself.
func Writer(w io.Writer) io.Writer { return &writer{w} }

type writer struct{ w io.Writer }

func (w *writer) Write(b []byte) (int, error) {
	if _, err := io.WriteString(w.w, Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Unwrap is the writer below.
func (w *writer) Unwrap() io.Writer { return w.w }

// Raw is the writer below a Writer, or w itself.
func Raw(w io.Writer) io.Writer {
	if u, ok := w.(*writer); ok {
		return u.Unwrap()
	}
	return w
}

// Copy returns a deep copy of v, in which every string is Text, keys of maps included. Types that are no plain data
// (they have fields that are not exported) are taken as they are.
func Copy[T any](v T) T {
	var out T
	set(reflect.ValueOf(&out).Elem(), reflect.ValueOf(&v).Elem())
	return out
}

func set(to, from reflect.Value) {
	switch from.Kind() {
	case reflect.String:
		to.SetString(Text(from.String()))
	case reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(from.Type().Elem()))
			set(to.Elem(), from.Elem())
		}
	case reflect.Interface:
		if !from.IsNil() {
			x := reflect.New(from.Elem().Type()).Elem()
			set(x, from.Elem())
			to.Set(x)
		}
	case reflect.Slice:
		if !from.IsNil() {
			to.Set(reflect.MakeSlice(from.Type(), from.Len(), from.Len()))
			for i := range from.Len() {
				set(to.Index(i), from.Index(i))
			}
		}
	case reflect.Array:
		for i := range from.Len() {
			set(to.Index(i), from.Index(i))
		}
	case reflect.Map:
		if !from.IsNil() {
			to.Set(reflect.MakeMapWithSize(from.Type(), from.Len()))
			for _, k := range from.MapKeys() {
				key, value := reflect.New(k.Type()).Elem(), reflect.New(from.Type().Elem()).Elem()
				set(key, k)
				set(value, from.MapIndex(k))
				to.SetMapIndex(key, value)
			}
		}
	case reflect.Struct:
		to.Set(from)
		for i := range from.NumField() {
			if from.Type().Field(i).IsExported() {
				set(to.Field(i), from.Field(i))
			}
		}
	default:
		to.Set(from)
	}
}
