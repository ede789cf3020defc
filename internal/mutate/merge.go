package mutate

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"strings"
)

// merge returns the source of a file with all its mutants.
func merge(name string, source []byte, mutants []Mutant) ([]byte, error) {
	original, err := read(name, source)
	if err != nil {
		return nil, err
	}
	copies := make([][]variant, len(original.functions))
	for i, m := range mutants {
		if m.File != name {
			continue
		}
		if n := bytes.Count(source, []byte(m.Old)); n != 1 {
			return nil, fmt.Errorf("%s: this must occur exactly once, not %d times: %s", name, n, m.Old)
		}
		function, text, err := original.change(m, i+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", name, err, m.Old)
		}
		copies[function] = append(copies[function], variant{i + 1, text})
	}
	var merged bytes.Buffer
	from := 0
	for i, f := range original.functions {
		if copies[i] == nil {
			continue
		}
		start, end := original.offset(f.Pos()), original.offset(f.End())
		merged.Write(source[from:start])
		merged.WriteString(original.renamed(f, 0))
		for _, v := range copies[i] {
			merged.WriteString("\n\n" + v.text)
		}
		fmt.Fprintf(&merged, "\n\n%s", original.dispatcher(f, copies[i]))
		from = end
	}
	merged.Write(source[from:])
	return merged.Bytes(), nil
}

// variant is a function as a mutant has it.
type variant struct {
	mutant int
	text   string
}

// file is a parsed one.
type file struct {
	source    []byte
	set       *token.FileSet
	functions []*ast.FuncDecl
}

func read(name string, source []byte) (*file, error) {
	f := &file{source: source, set: token.NewFileSet()}
	parsed, err := parser.ParseFile(f.set, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range parsed.Decls {
		if function, ok := d.(*ast.FuncDecl); ok {
			function.Doc = nil // no part of its text
			f.functions = append(f.functions, function)
		}
	}
	return f, nil
}

func (f *file) offset(p token.Pos) int { return f.set.Position(p).Offset }

// change returns the function that a mutant changes, and its text, under a name with the mutant's number.
func (f *file) change(m Mutant, number int) (function int, text string, err error) {
	at := bytes.Index(f.source, []byte(m.Old))
	for i, d := range f.functions {
		if f.offset(d.Pos()) > at || at+len(m.Old) > f.offset(d.End()) {
			continue
		}
		mutated, err := read(m.File, bytes.Replace(f.source, []byte(m.Old), []byte(m.New), 1))
		switch {
		case err != nil:
			return 0, "", err
		case len(mutated.functions) != len(f.functions):
			return 0, "", errors.New("the mutant adds or removes a function")
		}
		return i, mutated.renamed(mutated.functions[i], number), nil
	}
	return 0, "", errors.New("no function contains this")
}

// renamed returns the text of a function under a name with a mutant's number.
func (f *file) renamed(d *ast.FuncDecl, number int) string {
	start, name, end := f.offset(d.Pos()), f.offset(d.Name.End()), f.offset(d.End())
	return fmt.Sprintf("%s_%d%s", f.source[start:name], number, f.source[name:end])
}

// dispatcher returns a function with the name of d, that calls the chosen copy.
func (f *file) dispatcher(d *ast.FuncDecl, copies []variant) string {
	name := d.Name.Name
	if d.Recv != nil {
		nameAll(d.Recv, "receiver")
		name = d.Recv.List[0].Names[0].Name + "." + name
	}
	nameAll(d.Type.Params, "param")
	types := ""
	if d.Type.TypeParams != nil {
		types = "[" + list(d.Type.TypeParams) + "]"
	}
	call := func(number int) string {
		text := fmt.Sprintf("%s_%d%s(%s)", name, number, types, list(d.Type.Params))
		if d.Type.Results != nil {
			return "return " + text
		}
		return text
	}
	var text strings.Builder
	head := *d
	head.Body = nil
	if err := printer.Fprint(&text, f.set, &head); err != nil {
		panic(err) // it was parsed
	}
	text.WriteString(" {\n\tswitch mutantChosen {\n")
	for _, v := range copies {
		fmt.Fprintf(&text, "\tcase %d:\n\t\t%s\n", v.mutant, call(v.mutant))
	}
	fmt.Fprintf(&text, "\tdefault:\n\t\t%s\n\t}\n}", call(0))
	return text.String()
}

// list returns the names of parameters as the arguments of a call.
func list(fields *ast.FieldList) string {
	var names []string
	for _, field := range fields.List {
		for _, name := range field.Names {
			if _, variadic := field.Type.(*ast.Ellipsis); variadic {
				names = append(names, name.Name+"...")
			} else {
				names = append(names, name.Name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// nameAll gives a name to all parameters that have none.
func nameAll(fields *ast.FieldList, prefix string) {
	n := 0
	for _, field := range fields.List {
		if field.Names == nil {
			field.Names = []*ast.Ident{ast.NewIdent("_")}
		}
		for _, name := range field.Names {
			if n++; name.Name == "_" {
				name.Name = fmt.Sprint(prefix, n)
			}
		}
	}
}
