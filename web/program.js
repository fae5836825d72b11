// The page of a program or an instance: why it is so, its log, its figures, what
// happened to it, its configuration.
import { html, signal, useEffect, useRef, useComputed } from './lib.js'
import { access, ask, path, names, instances, now, listeners, link, signals, sendSignal } from './state.js'
import { span, percent, size, lastExit, look, roughly } from './words.js'
import { State, Acts } from './list.js'
import { Log } from './log.js'
import { Plot } from './plot.js'
import { Timeline } from './timeline.js'

const kept = 500 // events
const every = 2000 // ms, between questions while nothing happens,
const rest = 1000 // and while something does
const pause = 500 // ms, from an event to the runs that go with it

// Program is the page of name, which is that of a program or of one of its instances.
export function Program({ name }) {
  const list = names.value.map(n => instances.get(n).value).filter(i => i.name === name || i.program === name)
  const about = useRef(null)
  about.current ??= { full: signal(null), why: signal(null), error: signal(''), events: signal([]), runs: signal(null) }
  const { full, why, error, events, runs } = about.current

  useEffect(() => {
    const mine = e => e.name === name || e.program === name
    // Runs are read from the daemon's disk: after what starts or ends one, and not often.
    let recalling = 0
    const recall = () => {
      recalling ||= setTimeout(() => {
        recalling = 0
        ask('GET', path(name, 'history')).then(v => { runs.value = v }, () => { runs.value ??= [] })
      }, runs.peek() ? pause : 0)
    }
    full.value = why.value = runs.value = null
    events.value = []
    let timer = 0
    let asked = 0
    let stale = true // something has happened that isn't in events
    let gone = false
    const again = async () => {
      clearTimeout(timer)
      timer = 0
      asked = Date.now()
      if (!document.hidden && link.peek() !== 'cut') {
        const last = events.peek().at(-1)?.seq ?? 0
        const held = stale ? ask('GET', `/v1/events?follow=0&program=${encodeURIComponent(name)}&since=${last}`).then(v => { if (!gone && v.length) events.value = [...(v[0].seq > last ? events.peek() : []), ...v].slice(-kept) }, () => {}) : null
        stale = false
        await Promise.all([held,
          ask('GET', path(name)).then(v => { full.value = v; error.value = '' }, e => { error.value = e.message }),
          ask('GET', path(name, 'why')).then(v => { why.value = v }, () => { why.value = null })])
      }
      if (!gone && !timer) timer = setTimeout(again, every)
    }
    // The stream tells that something has happened, and the log of events what: it has
    // all of it.
    const heard = e => {
      if (!mine(e) && !e.kind.startsWith('config.')) return
      stale ||= mine(e)
      if (mine(e) && e.kind === 'state') recall()
      clearTimeout(timer)
      timer = setTimeout(again, Math.max(0, asked + rest - Date.now()))
    }
    listeners.add(heard)
    again()
    const live = link.subscribe(v => { if (v === 'live') recall() }) // another daemon may know more
    return () => { gone = true; listeners.delete(heard); live(); clearTimeout(timer); clearTimeout(recalling) }
  }, [name])

  if (!list.length) {
    return html`<main class="program" id="main"><${Crumbs} name=${name} /><p class="none">${link.value === 'live' && names.value.length ? `no program is called ${name}` : 'asking the daemon …'}</p></main>`
  }
  const one = list.length === 1 ? list[0] : null
  const measured = k => list.some(i => i[k] != null)
  const total = k => (measured(k) ? list.reduce((a, i) => a + (i[k] ?? 0), 0) : null)
  return html`<main class="program" id="main">
    <${Crumbs} name=${name} program=${list[0].program} />
    <div class="title">
      <h1>${name}</h1>
      ${one ? html`<span class="big"><${State} i=${one} /></span>` : html`<span class="dim">${list.length} instances</span>`}
      <span class="grow"></span><span class="buttons"><${Signal} name=${name} list=${list} /><${Acts} name=${name} list=${list} words /></span>
    </div>
    <${Why} list=${list} why=${why.value} />
    ${!one && html`<div class="chips">${list.map(i => html`<a class="chip" href=${'#/' + encodeURIComponent(i.name)}>${i.name} <${State} i=${i} /></a>`)}</div>`}
    <div class="facts">
      ${one && html`<${Fact} name="pid">${one.pid || '–'}<//><${Fact} name="up"><${Uptime} name=${one.name} /><//>`}
      <${Fact} name="restarts">${total('restarts') ?? 0}<//>
      <${Usage} list=${full.value?.instances ?? []} />
    </div>
    <div class="columns">
      <${Log} key=${name} name=${name} many=${list.length > 1} lines=${Math.max(20, Math.ceil(500 / list.length))} />
      <div class="side">
        <${Plot} title="processor" field="cpu" names=${list.map(i => i.name)} now=${percent(total('cpu_percent'))} />
        <${Plot} title="memory" field="mem" names=${list.map(i => i.name)} now=${size(total('memory_bytes'))} />
        <${Timeline} events=${events.value} runs=${runs.value} list=${list} />
      </div>
    </div>
    <${Processes} list=${full.value?.instances ?? []} />
    <${Config} full=${full.value} error=${error.value} />
  </main>`
}

// Processes shows those of the instances, each below its parent.
function Processes({ list }) {
  const some = list.filter(i => i.processes?.length)
  if (!some.length) return null
  return html`<section class="card processes" aria-label="processes"><header><h2>processes</h2></header>
    <table><thead><tr><th scope="col">command</th><th scope="col">pid</th><th scope="col">cpu</th><th scope="col">mem</th><th scope="col">threads</th></tr></thead>
    ${some.map(i => html`<tbody key=${i.name}>
      ${list.length > 1 && html`<tr><th scope="rowgroup" colspan="5">${i.name}</th></tr>`}
      ${twigs(i.processes).map(([p, twig]) => html`<tr key=${p.pid}>
        <td title=${p.command}><span class="twig" aria-hidden="true">${twig}</span>${p.command || '–'}</td>
        <td class="num">${p.pid}</td><td class="num">${percent(p.cpu_percent)}</td><td class="num">${size(p.memory_bytes)}</td><td class="num">${p.threads}</td></tr>`)}
      ${i.usage.processes > i.processes.length && html`<tr><td class="dim" colspan="5">and ${i.usage.processes - i.processes.length} more</td></tr>`}
    </tbody>`)}</table></section>`
}

// twigs returns each process with what is drawn before it to show whose child it is.
function twigs(list) {
  const last = new Map(list.map(p => [p.parent, p]))
  const below = new Map() // pid → what is drawn before its children
  return list.map(p => {
    const stem = below.get(p.parent)
    const end = last.get(p.parent) === p
    below.set(p.pid, stem === undefined ? '' : stem + (end ? '   ' : '│  '))
    return [p, stem === undefined ? '' : stem + (end ? '└─ ' : '├─ ')]
  })
}

export const choosing = signal('') // of what a signal is being chosen for

// Signal is a menu of signals, for who may act on what has a process.
function Signal({ name, list }) {
  const box = useRef(null)
  const on = choosing.value === name
  const there = access.value?.act && list.some(i => i.pid)
  useEffect(() => { if (on) box.current?.querySelector('[role=menuitem]')?.focus() }, [on])
  useEffect(() => () => { if (choosing.peek() === name) choosing.value = '' }, [name])
  if (!there) return null
  const close = () => { choosing.value = ''; box.current.querySelector('button').focus() }
  const key = e => {
    const items = [...box.current.querySelectorAll('[role=menuitem]')]
    const at = items.indexOf(document.activeElement)
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: -1 }[e.key]
    if (!on || e.ctrlKey || e.metaKey || e.altKey) return
    if (e.key === 'Escape') close()
    else if (to !== undefined) items.at(to % items.length).focus()
    else return
    e.preventDefault()
    e.stopPropagation() // the page has keys of its own
  }
  return html`<span class="menu" ref=${box} onKeyDown=${key} onFocusOut=${e => { if (on && !box.current.contains(e.relatedTarget)) choosing.value = '' }}>
    <button class="act" aria-haspopup="menu" aria-expanded=${on} title="send a signal (K)" onClick=${() => { choosing.value = on ? '' : name }}><span aria-hidden="true">⚡︎</span> signal</button>
    ${on && html`<div role="menu" class="card" aria-label=${'send a signal to ' + name}>${signals.map(([sig, means]) => html`<button key=${sig} role="menuitem" tabindex="-1" class="plain" onClick=${() => { close(); sendSignal(name, sig) }}><b>${sig}</b><span class="dim small">${means}</span></button>`)}</div>`}
  </span>`
}

function Crumbs({ name, program }) {
  return html`<nav class="crumbs" aria-label="where this is"><a href="#/">programs</a>${program && program !== name && html` <span class="dim">/</span> <a href=${'#/' + encodeURIComponent(program)}>${program}</a>`} <span class="dim">/</span> <span aria-current="page">${name}</span></nav>`
}

const Fact = ({ name, children }) => html`<div class="fact"><span class="dim small">${name}</span><b>${children}</b></div>`

function Uptime({ name }) {
  return html`${useComputed(() => { const i = instances.get(name)?.value; return i?.pid ? span((now.value - i.upAt) / 1000) : '–' })}`
}

// Usage shows what all processes of the instances use, added up.
function Usage({ list }) {
  const us = list.map(i => i.usage).filter(Boolean)
  if (!us.length) return null
  const sum = k => (us.every(u => u[k] == null) ? null : us.reduce((a, u) => a + (u[k] ?? 0), 0))
  const fact = (name, v) => v != null && html`<${Fact} name=${name}>${v}<//>`
  const bytes = k => (sum(k) == null ? null : size(sum(k)))
  return html`${fact('processes', sum('processes'))}${fact('threads', sum('threads'))}${fact('descriptors', sum('descriptors'))}
    ${fact('cpu time', span(sum('cpu_seconds')))}${fact('resident', bytes('resident_bytes'))}${fact('proportional', bytes('proportional_bytes'))}
    ${fact('peak', bytes('cgroup_peak_bytes'))}${fact('read', bytes('read_bytes'))}${fact('written', bytes('written_bytes'))}`
}

// Why says in words why it is as it is: the daemon's own account of those in trouble, or
// of all; from a daemon that has none, what is known of the instance itself.
function Why({ list, why }) {
  const troubled = new Set(list.filter(i => ['bad', 'warn'].includes(look(i)[2])).map(i => i.name))
  const tone = list.map(i => look(i)[2]).find(t => t === 'bad' || t === 'warn') ?? ''
  const told = (why ?? []).filter(w => !troubled.size || troubled.has(w.name)).slice(0, 5)
  if (told.length) {
    return html`<div class=${'why ' + tone}>${told.map(w => html`<p>${w.text}</p>
      ${w.do && !w.do.startsWith('tend logs') && html`<p class="dim small"><code>${w.do}</code> ${w.does}</p>`}`)}</div>`
  }
  const lines = list.map(i => ({ i, text: [i.message === i.state ? '' : i.message, i.status, lastExit(i, now.value)].filter((s, n, all) => s && all.findIndex(o => o?.includes(s)) === n).join(' · ') })).filter(l => l.text)
  if (!lines.length) return null
  return html`<div class=${'why ' + tone}>${lines.slice(0, 8).map(l => html`<p>${list.length > 1 && html`<b>${l.i.name}</b> `}${l.text}</p>`)}</div>`
}

function shown(v) {
  if (v === null || v === '') return '–'
  if (Array.isArray(v)) return v.length ? v.map(x => (typeof x === 'object' ? JSON.stringify(x) : String(x))).join(' ') : '–'
  if (typeof v === 'object') return Object.entries(v).map(([k, x]) => `${k}=${typeof x === 'object' ? JSON.stringify(x) : x}`).join('\n') || '–'
  return String(v)
}

// Config lists every key in force; those that are set to something first.
function Config({ full, error }) {
  if (!full) return error ? html`<p class="why warn">${error}</p>` : null
  const keys = Object.entries(full.config ?? {})
  return html`<details class="card config"><summary><h2>configuration</h2> <span class="dim small">${full.file}${full.line ? ':' + full.line : ''}, ${keys.length} keys in force</span></summary>
    <dl>${keys.map(([k, v]) => html`<div class=${shown(v) === '–' || v === false ? 'unset' : ''}><dt>${k}</dt><dd>${shown(v)}</dd></div>`)}</dl></details>`
}
