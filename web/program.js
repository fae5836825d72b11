// The page of a program or an instance: why it is so, its log, its figures, what
// happened to it, its configuration.
import { html, signal, useEffect, useRef, useComputed } from './lib.js'
import { ask, path, names, instances, now, listeners, link } from './state.js'
import { span, percent, size, lastExit, look } from './words.js'
import { State, Acts } from './list.js'
import { Log } from './log.js'
import { Plot } from './plot.js'
import { Timeline } from './timeline.js'

const kept = 500 // events
const pause = 500 // ms, from an event to the runs that go with it

// Program is the page of name, which is that of a program or of one of its instances.
export function Program({ name }) {
  const list = names.value.map(n => instances.get(n).value).filter(i => i.name === name || i.program === name)
  const about = useRef(null)
  about.current ??= { full: signal(null), why: signal(null), error: signal(''), events: signal([]), runs: signal(null) }
  const { full, why, error, events, runs } = about.current

  useEffect(() => {
    const mine = e => e.name === name || e.program === name
    const again = () => Promise.all([
      ask('GET', path(name)).then(v => { full.value = v; error.value = '' }, e => { error.value = e.message }),
      ask('GET', path(name, 'why')).then(v => { why.value = v }, () => { why.value = null }),
    ])
    // Runs are read from the daemon's disk: after what starts or ends one, and not often.
    let asked = 0
    const recall = () => {
      asked ||= setTimeout(() => {
        asked = 0
        ask('GET', path(name, 'history')).then(v => { runs.value = v }, () => { runs.value ??= [] })
      }, runs.peek() ? pause : 0)
    }
    full.value = why.value = runs.value = null
    events.value = []
    let fetched = null
    const early = [] // came by the stream before what was held
    const heard = e => {
      if (e.kind.startsWith('config.')) again()
      if (!mine(e)) return
      if (fetched) events.value = [...events.value, e].slice(-kept)
      else early.push(e)
      if (e.kind === 'state') recall()
      again()
    }
    listeners.add(heard)
    again()
    const live = link.subscribe(v => { if (v === 'live') recall() }) // another daemon may know more
    ask('GET', '/v1/events?follow=0&program=' + encodeURIComponent(name)).then(v => {
      fetched = v.at(-1)?.seq ?? 0
      events.value = [...v, ...early.filter(e => e.seq > fetched)].slice(-kept)
    }, () => { fetched = 0 })
    const timer = setInterval(() => { if (!document.hidden && link.peek() === 'live') again() }, 2000)
    return () => { listeners.delete(heard); live(); clearInterval(timer); clearTimeout(asked) }
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
      <span class="grow"></span><span class="buttons"><${Acts} name=${name} list=${list} words /></span>
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
    <${Config} full=${full.value} error=${error.value} />
  </main>`
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
