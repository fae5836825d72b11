package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tend/api"
)

var flagPictures = flag.String("page.pictures", "", "a folder for pictures of the page")

const (
	pageToken  = "0123456789abcdef-ann"
	pageReader = "0123456789abcdef-bob"
)

// TestPage goes through the page with a real browser: it logs in, sees a program die
// and come back, follows a log, stops and starts, applies a plan, loses the daemon and
// finds it again. Nothing may go to another host, nothing may be thrown, and the policy
// may have nothing to forbid.
func TestPage(t *testing.T) {
	d := startPage(t, `
[clock]
command = '''
n=0; while :; do n=$((n+1)); printf '\033[32mtick\033[0m %d <b>not bold</b>\n' $n; sleep 0.2; done
'''

[queue]
command = "echo working; exec sleep 1000"
instances = 3

[mailer]
command = "echo error: SMTP_URL is not set; exit 1"

[setup]
command = "echo done"
type = "task"
`)
	b := openPage(t, d.url)

	b.step("log in")
	b.until(`document.querySelector('#token')`)
	b.picture("login")
	b.do(chromedp.SendKeys("#token", "0123456789abcdef-eve\r"))
	b.until(`document.querySelector('#token-error').textContent.includes('the token is wrong')`)
	b.until(`(document.querySelector('#token').value = '', true)`)
	b.do(chromedp.SendKeys("#token", pageToken+"\r"))
	b.until(row("clock") + `?.textContent.includes('ready')`)
	b.until(row("setup") + `?.textContent.includes('done')`)
	b.until(`document.querySelector('.link').textContent === 'live'`)
	b.until(`document.querySelectorAll('.row .restart').length > 2`)

	b.step("see a program die and come back, live")
	pid := d.pid("clock")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.until(row("clock") + `?.textContent.includes('signal KILL')`)
	b.until(fmt.Sprintf(`(r => r?.textContent.includes('ready') && +r.querySelector('.pid').textContent > 0 && +r.querySelector('.pid').textContent !== %d)(%s)`, pid, row("clock")))
	b.pictures("list")

	b.step("go through it by the keyboard, and open it")
	b.do(chromedp.KeyEvent("jj"))
	b.until(`document.activeElement.closest('.row.selected.group') && document.activeElement.textContent === 'queue'`)
	b.do(chromedp.KeyEvent("h"))
	b.until(`!` + row("queue:1"))
	b.do(chromedp.KeyEvent("l"))
	b.until(row("queue:1"))
	// As a key alone: chromedp would type it as well, into what the key has led to.
	b.until(`document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '/', bubbles: true, cancelable: true })) || document.activeElement.id === 'filter'`)
	b.do(chromedp.KeyEvent("clo"))
	b.until(`document.querySelectorAll('.row:not(.head)').length === 1`)
	b.do(chromedp.KeyEvent("\r"), chromedp.KeyEvent("\r"))
	b.until(`location.hash === '#/clock' && document.querySelector('h1').textContent === 'clock'`)

	b.step("follow its log")
	lines := `document.querySelectorAll('.lines > div')`
	b.until(`[...` + lines + `].some(l => /^tick \d+ <b>not bold<\/b>$/.test(l.textContent) && l.querySelector('.f2')?.textContent === 'tick' && !l.querySelector('b'))`)
	b.until(fmt.Sprintf(`(window.before ??= %[1]s.length) && %[1]s.length > window.before + 3`, lines))
	b.do(chromedp.SendKeys(".find", "tick 2 "))
	b.until(`document.querySelector('.found').textContent.includes(' of ') && document.querySelector('.lines .here')?.textContent.startsWith('tick 2 ')`)
	b.do(chromedp.Click(".logs [aria-pressed]"))
	b.until(`/go on \(\d+ new\)/.test(document.querySelector('.logs [aria-pressed]').textContent)`)
	b.do(chromedp.Click(".logs [aria-pressed]"))
	b.until(`document.querySelector('.logs [aria-pressed]').textContent.includes('pause')`)
	b.until(`[...document.querySelectorAll('.timeline li')].some(l => l.textContent.includes('signal KILL'))`)
	b.until(`document.querySelectorAll('.plot canvas').length === 2`)
	b.until(`(rows => rows.length === 2 && rows[0].textContent.includes('n=0; while') && rows[1].textContent.startsWith('└─ ') && rows[1].textContent.includes('sleep 0.2'))(document.querySelectorAll('.processes tbody tr'))`)
	b.pictures("program")
	b.until(`(document.querySelector('.processes').scrollIntoView({ block: 'center' }), true)`)
	b.pictures("processes")

	b.step("colours of terminals")
	if wrong := evaluate[string](b, `import('/assets/ansi.js').then(({ pieces, plain, bare, node }) => {
		const wrong = []
		const same = (got, want) => got === want || wrong.push(got + ' should be ' + want)
		const style = plain()
		const look = line => JSON.stringify(pieces(line, style).map(([text, s]) => [text, s.fg, s.bg, s.bold]))
		same(look('a\x1b[1;31mb'), '[["a",null,null,false],["b",1,null,true]]')
		same(look('c\x1b[22;97;44md'), '[["c",1,null,true],["d",15,4,false]]')
		same(look('\x1b[me\x1b[38;5;196mf\x1b[48;2;1;2;300mg'), '[["e",null,null,false],["f","rgb(255, 0, 0)",null,false],["g","rgb(255, 0, 0)","rgb(1, 2, 255)",false]]')
		same(bare('10%\r20%\x1b[K\x1b]0;title\x07 \x1b(Bdone\x00'), '20% done')
		same(bare('cut\x1b[38;5'), 'cut')
		same(node(['<i>x</i>', { ...plain(), fg: 1 }]).textContent, '<i>x</i>')
		same(node(['<i>x</i>', { ...plain(), fg: 1 }]).childElementCount, 0)
		return wrong.join('\n')
	})`); wrong != "" {
		t.Error(wrong)
	}

	b.step("why one is in trouble")
	b.until(`location.hash = '#/mailer'`)
	b.until(`document.querySelector('h1').textContent === 'mailer' && document.querySelector('.why')?.textContent.includes('exit')`)
	b.until(`[...document.querySelectorAll('.lines > div')].some(l => l.textContent === 'error: SMTP_URL is not set')`)
	b.pictures("why")
	b.until(`location.hash = '#/clock'`)
	b.until(`document.querySelector('h1').textContent === 'clock'`)

	b.step("send it a signal")
	d.signalled(b, "clock")
	b.step("stop it, with a question, and start it")
	b.do(chromedp.Click(".title .stop"))
	b.until(`document.querySelector('dialog[open] .danger')?.textContent === 'stop'`)
	b.do(chromedp.Click("dialog[open] .danger"))
	b.until(`document.querySelector('.title .state').textContent.includes('stopped')`)
	b.do(chromedp.Click(".title .start"))
	b.until(`document.querySelector('.title .state').textContent.includes('ready')`)

	b.step("apply a plan")
	b.do(chromedp.Click(".brand"))
	b.until(`document.querySelector('#filter')`)
	b.do(chromedp.KeyEvent(kb.Escape)) // which clears the filter
	d.write(strings.Replace(d.config, "instances = 3", "instances = 4", 1) + "\n[feed]\ncommand = \"sleep 1000\"\n")
	b.until(`document.querySelector('.banner')?.textContent.includes('differ')`)
	b.do(chromedp.Click(".banner button"))
	b.until(`document.querySelector('.plan')?.textContent.includes('feed') && document.querySelector('.plan').textContent.includes('instances')`)
	b.pictures("plan")
	b.do(chromedp.Click(".plan .primary"))
	b.until(row("feed") + `?.textContent.includes('ready')`)
	b.until(row("queue:3") + `?.textContent.includes('ready')`)
	b.until(`!document.querySelector('.banner') && !document.querySelector('dialog[open]')`)

	b.step("a plan with errors")
	d.write(d.config + "\n[feed]\ncommand = \"sleep 1000\"\nrestrat = \"never\"\n")
	b.do(chromedp.KeyEvent("p"))
	b.until(`document.querySelector('.plan')?.textContent.includes('restrat') && !document.querySelector('.plan .primary')`)
	b.do(chromedp.Click(".plan .buttons button"))
	d.write(d.config)

	b.step("lose the daemon, and find it again")
	d.stop()
	b.until(`document.querySelector('.link').textContent === 'cut off' && document.querySelector('.banner.bad')`)
	b.picture("cut")
	d.start()
	b.until(`document.querySelector('.link').textContent === 'live' && !document.querySelector('.banner.bad')`)
	b.until(fmt.Sprintf(`+%s?.querySelector('.pid').textContent === %d`, row("queue:1"), d.pid("queue:1")))

	b.step("its history is that of the tend before as well")
	past := `[...document.querySelectorAll('.timeline li')].map(l => l.textContent).join('\n')`
	b.until(`location.hash = '#/clock'`)
	b.until(fmt.Sprintf(`/stopped by hand \(signal TERM\) after [^]*signal KILL after/.test(%s)`, past))
	b.until(fmt.Sprintf(`/stopped with tend/.test(%s) && %[1]s.match(/ended/g).length >= 3`, past))
	b.until(`document.querySelectorAll('.band rect').length >= 3`)
	b.until(`[...document.querySelectorAll('.timeline .last')].some(l => /^tick \d+ <b>not bold<\/b>$/m.test(l.textContent))`)
	b.until(`(document.querySelector('.timeline').scrollIntoView(), true)`)
	b.pictures("history")
	b.until(`location.hash = '#/mailer'`)
	b.until(`document.querySelector('h1').textContent === 'mailer' && document.querySelector('.timeline .last')?.textContent.includes('error: SMTP_URL is not set')`)
	b.do(chromedp.Click(".brand"))
	b.until(`document.querySelector('#filter')`)

	b.step("log out")
	b.until(`document.querySelector('.top').lastElementChild.textContent === 'log out'`)
	b.do(chromedp.Click(".top button:last-child"))
	b.until(`document.querySelector('#token')`)

	b.step("who may only look has no buttons")
	b.do(chromedp.SendKeys("#token", pageReader+"\r"))
	b.until(row("clock") + `?.textContent.includes('ready')`)
	b.until(`document.querySelector('.link').textContent === 'live' && !document.querySelector('.act')`)
	d.write(d.config + "\n[feed]\ncommand = \"sleep 1000\"\n")
	b.do(chromedp.KeyEvent("p"))
	b.until(`document.querySelector('.plan')?.textContent.includes('feed') && !document.querySelector('.plan .primary')`)
}

// TestPageOfMany: a thousand programs are shown, folded, found and sorted without a
// wait that a person would notice.
func TestPageOfMany(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a thousand programs")
	}
	var config strings.Builder
	for n := range 1000 {
		command := "exec sleep 1000"
		if n >= 990 {
			command = "exit 1"
		}
		fmt.Fprintf(&config, "[p%03d]\ncommand = %q\nautostart = %t\n", n, command, n < 40)
	}
	d := startPage(t, config.String())
	b := openPage(t, d.url)
	b.until(`document.querySelector('#token')`)
	b.do(chromedp.SendKeys("#token", pageToken+"\r"))
	b.until(`document.querySelector('.list').getAttribute('aria-rowcount') === '1001' && ` + row("p000"))
	rows := `document.querySelectorAll('.row:not(.head)')`
	b.until(rows + `.length < 150`)
	tall := evaluate[float64](b, `document.querySelector('.rows').getBoundingClientRect().height`)
	each := evaluate[float64](b, rows+`[3].getBoundingClientRect().height`)
	if tall != 1000*each {
		t.Errorf("a thousand rows of %f px are %f px tall", each, tall)
	}
	b.step("scroll through it")
	for _, n := range []int{500, 999, 250, 0} {
		b.until(fmt.Sprintf(`(scrollTo(0, %d), true)`, int(each)*n))
		in := row(fmt.Sprintf("p%03d", n))
		b.until(in + `?.getBoundingClientRect().top < innerHeight && ` + in + `.getBoundingClientRect().bottom > 0 && ` + rows + `.length < 150`)
		if place := evaluate[float64](b, in+`.getBoundingClientRect().top - document.querySelector('.rows').getBoundingClientRect().top`); place != float64(n)*each {
			t.Errorf("row %d is %f px from the top, want %f", n, place, float64(n)*each)
		}
	}
	b.step("go through it by the keyboard")
	for range 121 {
		b.do(chromedp.KeyEvent("j"))
	}
	b.until(`(r => document.activeElement.textContent === 'p120' && r.top > 80 && r.bottom < innerHeight)(document.activeElement.getBoundingClientRect())`)
	b.until(row("p120") + `.ariaRowIndex === '122' && !` + row("p000"))
	b.step("find and sort")
	ms := evaluate[float64](b, `(async () => {
		const drawn = () => new Promise(ok => requestAnimationFrame(() => setTimeout(ok)))
		const start = performance.now()
		const buttons = [...document.querySelectorAll('.sort')]
		buttons.find(b => b.textContent.startsWith('cpu')).click()
		await drawn()
		const filter = document.querySelector('#filter')
		for (const text of ['p', 'p0', 'p01', '']) { filter.value = text; filter.dispatchEvent(new Event('input')); await drawn() }
		return (performance.now() - start) / 5
	})()`)
	t.Logf("a key or a click takes %.0f ms with a thousand programs", ms)
	if ms > 2000 {
		t.Errorf("a key or a click takes %.0f ms", ms)
	}
	b.step("many in trouble are said in one line")
	if _, err := d.client.Act(t.Context(), "start", "p99*", api.Act{NoWait: true}); err != nil {
		t.Fatal(err)
	}
	b.until(`[...document.querySelectorAll('.notes p')].some(p => /^\d+ are in trouble: p99\d, p99\d, …$/.test(p.textContent))`)
	b.until(`document.querySelector('.tile.warn')?.textContent.startsWith('10')`)
	b.pictures("many")
}

// TestPageTLS: with TLS a browser speaks HTTP/2, in which it has as many streams at a
// time as it likes: with HTTP/1.1 it would be six, for all tabs together.
func TestPageTLS(t *testing.T) {
	cert, key, err := selfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := startPage(t, fmt.Sprintf("tls_cert = %q\ntls_key = %q\n[web]\ncommand = \"sleep 1000\"\n", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")))
	d.url = strings.Replace(d.url, "http:", "https:", 1)
	b := openPage(t, d.url, chromedp.Flag("ignore-certificate-errors", true))
	b.until(`document.querySelector('#token')`)
	b.do(chromedp.SendKeys("#token", pageToken+"\r"))
	b.until(row("web") + `?.textContent.includes('ready')`)
	b.until(`document.querySelector('.link').textContent === 'live'`)
	if by := evaluate[string](b, `performance.getEntriesByType('navigation')[0].nextHopProtocol`); by != "h2" {
		t.Errorf("the page came by %s", by)
	}
	b.step("twenty streams")
	if n := evaluate[int](b, `Promise.all(Array.from({ length: 20 }, (_, n) => new Promise((ok, bad) => {
		const s = new EventSource(n % 2 ? '/v1/events?since=0' : '/v1/programs/web/logs?follow')
		s.onopen = ok
		s.onerror = bad
	}))).then(all => all.length)`); n != 20 {
		t.Errorf("%d streams are open", n)
	}
}

func row(name string) string {
	return fmt.Sprintf(`[...document.querySelectorAll('.row')].find(r => r.querySelector('.name a')?.textContent === '%s')`, name)
}

// paged is a daemon with the page.
type paged struct {
	t                *testing.T
	dir, url, config string
	client           *api.Client
	run              *exec.Cmd
}

// startPage starts a daemon with a page; config goes on in its table [tend].
func startPage(t *testing.T, config string) *paged {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("there is no chromium here (apt-get install chromium)")
	}
	d := &paged{t: t, dir: t.TempDir()}
	self, err := os.Executable()
	if err == nil {
		err = os.Symlink(self, filepath.Join(d.dir, "tend"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "tokens"), []byte("ann full "+pageToken+"\nbob read "+pageReader+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	d.url = fmt.Sprintf("http://127.0.0.1:%d/", port)
	d.config = fmt.Sprintf("[tend]\nlisten = \"127.0.0.1:%d\"\ntoken_file = %q\nreload = \"manual\"\n", port, filepath.Join(d.dir, "tokens")) + config
	d.write(d.config)
	d.client = api.Dial(filepath.Join(d.dir, ".tend", "tend.sock"))
	t.Cleanup(func() { killLeftovers(d.dir) })
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *paged) write(config string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "tend.toml"), []byte(config), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (d *paged) start() {
	d.t.Helper()
	d.run = exec.Command(filepath.Join(d.dir, "tend"), "run", "-c", "tend.toml")
	d.run.Dir, d.run.Env = d.dir, append(os.Environ(), "HOME="+d.dir)
	out, err := os.Create(filepath.Join(d.dir, "out"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer out.Close()
	d.run.Stdout, d.run.Stderr = out, out
	if err := d.run.Start(); err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), patience)
	defer cancel()
	if !awaitSocket(ctx, filepath.Join(d.dir, ".tend", "tend.sock")) {
		said, _ := os.ReadFile(out.Name())
		d.t.Fatalf("the daemon doesn't answer: %s", said)
	}
}

func (d *paged) stop() {
	if d.run == nil {
		return
	}
	d.run.Process.Signal(syscall.SIGTERM)
	d.run.Wait()
	d.run = nil
}

// signalled sends a signal from the menu, after a question, and sees that it came.
func (d *paged) signalled(b *browser, name string) {
	d.t.Helper()
	pid := d.pid(name)
	b.do(chromedp.KeyEvent("K"))
	b.until(`document.activeElement.textContent.startsWith('HUP')`)
	b.pictures("signal")
	b.do(chromedp.KeyEvent(kb.End))
	b.until(`document.activeElement.textContent.startsWith('KILL')`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.until(`!document.querySelector('[role=menu]') && document.activeElement.closest('.menu') && location.hash === '#/` + name + `'`)
	b.do(chromedp.Click(".menu button"))
	b.until(`document.querySelector('[role=menu]')`)
	b.do(chromedp.Click(".menu [role=menuitem]:last-child"))
	b.until(`document.querySelector('dialog[open] .danger')?.textContent === 'send KILL'`)
	b.do(chromedp.Click("dialog[open] .danger"))
	b.until(fmt.Sprintf(`(f => +f > 0 && +f !== %d)([...document.querySelectorAll('.fact')].find(f => f.textContent.startsWith('pid')).querySelector('b').textContent)`, pid))
}

func (d *paged) pid(name string) int {
	d.t.Helper()
	p, err := d.client.Program(d.t.Context(), name)
	if err != nil {
		d.t.Fatal(err)
	}
	return p.Instances[0].PID
}

// browser is a Chromium with the page.
type browser struct {
	t    *testing.T
	ctx  context.Context
	name string // of the step
	mu   sync.Mutex
	bad  []string // what should not have happened

	requests int
}

func openPage(t *testing.T, url string, more ...chromedp.ExecAllocatorOption) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.WindowSize(1440, 900),
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-dev-shm-usage", true))
	options = append(options, more...)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	b := &browser{t: t, name: "open"}
	ctx, _ = chromedp.NewContext(ctx, chromedp.WithListener(func(e any) {
		switch e := e.(type) {
		case *runtime.EventExceptionThrown:
			b.wrong(e.ExceptionDetails.Text + " " + e.ExceptionDetails.Exception.Description)
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity || strings.Contains(e.Entry.Text, "Content Security Policy") {
				b.wrong(e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			b.mu.Lock()
			b.requests++
			b.mu.Unlock()
			if !strings.HasPrefix(e.Request.URL, url) {
				b.wrong("a request for " + e.Request.URL)
			}
		}
	}))
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil { // waits until it has ended
			t.Error(err)
		}
	})
	b.ctx = ctx
	if err := chromedp.Do(ctx, scheme("dark"), chromedp.Navigate(url)); err != nil { // the browser lives as long as this context
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.bad {
			t.Error(s)
		}
		if b.requests < 15 {
			t.Errorf("only %d requests were seen", b.requests)
		}
	})
	return b
}

func (b *browser) wrong(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bad = append(b.bad, b.name+": "+what)
}

func (b *browser) step(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name = name
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.picture("broken")
		b.t.Fatalf("%s: %v", b.name, err)
	}
}

// until waits until an expression is true in the page. It looks by itself with each
// change: what chromedp has for this makes code of strings, which the page's policy
// forbids.
func (b *browser) until(condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](fmt.Sprintf(`new Promise(ok => {
		const holds = () => { try { return !!(%s) } catch { return false } }
		if (holds()) return ok(true)
		const o = new MutationObserver(() => holds() && (o.disconnect(), ok(true)))
		o.observe(document, { childList: true, subtree: true, characterData: true, attributes: true })
	})`, condition), chromedp.EvalAwaitPromise))
	if err != nil {
		ctx, cancel := context.WithTimeout(b.ctx, time.Second)
		defer cancel()
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
		b.picture("broken")
		b.t.Fatalf("%s: never %s: %v\n%s", b.name, condition, err, text)
	}
}

// evaluate returns what an expression comes to in the page.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", b.name, err)
	}
	return v
}

// picture writes a picture of the page as it is, where they are wanted.
func (b *browser) picture(name string) {
	if *flagPictures == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err != nil {
		b.t.Error(err)
	} else if err := os.WriteFile(filepath.Join(*flagPictures, name+".png"), png, 0o644); err != nil {
		b.t.Error(err)
	}
}

// pictures writes one in dark and light, wide and narrow.
func (b *browser) pictures(name string) {
	if *flagPictures == "" {
		return
	}
	for _, colours := range []string{"light", "dark"} {
		for size, width := range map[string]int64{"wide": 1440, "narrow": 390} {
			b.do(scheme(colours), chromedp.EmulateViewport(width, 900))
			b.until(`document.documentElement.clientWidth > 0`)
			b.picture(name + "-" + colours + "-" + size)
		}
	}
	b.do(chromedp.EmulateViewport(1440, 900))
}

// scheme makes the system's colours dark or light.
func scheme(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
		return err
	})
}
