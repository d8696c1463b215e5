package pages

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"al.essio.dev/pkg/shellescape"

	"mesh-egress-conformance/framework/procgroup"
)

// maxOutput is how many bytes a block may print: a page is to be read.
const maxOutput = 1 << 20

// Bash is a Shell. A block is not interactive: it reads nothing, and prints into a pipe.
type Bash struct {
	dir    string // for the blocks
	in     io.WriteCloser
	out    *os.File
	group  *procgroup.Group
	cancel context.CancelFunc
	token  string // tells the end of a block from what it prints
	blocks int
	dead   error
}

// NewBash starts bash in a folder, with an environment; Close ends it and all that it has started.
func NewBash(ctx context.Context, folder string, env []string) (*Bash, error) {
	program, err := exec.LookPath("bash")
	if err != nil {
		return nil, fmt.Errorf("the commands of a page need bash: %w; install the package bash", err)
	}
	dir, err := os.MkdirTemp("", "egressctl-docs-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the commands: %w", err)
	}
	b := &Bash{dir: dir, token: rand.Text()}
	if err := b.start(ctx, program, folder, env); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return b, nil
}

func (b *Bash) start(ctx context.Context, program, folder string, env []string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer write.Close()
	ctx, b.cancel = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, "--noprofile", "--norc")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = folder, env, write, write
	if b.in, err = cmd.StdinPipe(); err == nil {
		b.group, err = procgroup.Start(cmd)
	}
	if err != nil {
		b.cancel()
		read.Close()
		return err
	}
	b.out = read
	return nil
}

// Run implements Shell. A block that ends the shell, prints more than a MiB, or is still at work when its context ends,
// is an error.
func (b *Bash) Run(ctx context.Context, script string) (string, int, error) {
	if b.dead != nil {
		return "", 0, b.dead
	}
	output, exit, err := b.run(ctx, script)
	if err != nil {
		b.dead = fmt.Errorf("the shell has ended: %w", err)
		b.cancel()
	}
	return output, exit, err
}

func (b *Bash) run(ctx context.Context, script string) (string, int, error) {
	b.blocks++
	file := filepath.Join(b.dir, strconv.Itoa(b.blocks))
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return "", 0, fmt.Errorf("write the commands: %w", err)
	}
	stop := context.AfterFunc(ctx, b.cancel) // which ends the reading
	defer stop()
	_, err := fmt.Fprintf(b.in, ". %s </dev/null\nprintf '\\0 %s %%d\\0' $?\n", shellescape.Quote(file), b.token)
	if err != nil && !errors.Is(err, syscall.EPIPE) { // where the shell has ended, what it printed until then is read
		return "", 0, fmt.Errorf("hand the commands to bash: %w", err)
	}
	return b.read()
}

// read reads up to the end of a block.
func (b *Bash) read() (output string, exit int, err error) {
	var have []byte
	mark := []byte("\x00 " + b.token + " ") // a digit at once behind \\0 would belong to it
	buf := make([]byte, 32<<10)
	for {
		n, err := b.out.Read(buf)
		have = append(have, buf[:n]...)
		if at := bytes.Index(have, mark); at >= 0 {
			status, _, ended := bytes.Cut(have[at+len(mark):], []byte{0})
			if ended {
				exit, err := strconv.Atoi(string(status))
				return string(have[:at]), exit, err
			}
		}
		if len(have) > maxOutput {
			return "", 0, fmt.Errorf("the commands printed more than %d KiB", maxOutput>>10)
		}
		if errors.Is(err, io.EOF) {
			return "", 0, fmt.Errorf("the commands ended the shell; until then they printed %q", last(have))
		}
		if err != nil {
			return "", 0, fmt.Errorf("read what the commands print: %w", err)
		}
	}
}

// last is the end of an output.
func last(b []byte) []byte {
	const most = 500
	return b[max(0, len(b)-most):]
}

// Close ends the shell, and what its blocks have left running.
func (b *Bash) Close() error {
	b.cancel()
	b.in.Close()
	_ = b.group.Wait() // it was killed
	b.out.Close()
	return os.RemoveAll(b.dir)
}
