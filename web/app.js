// The page as a whole: what is above and around the list and the programs, the keys, and
// the login.
import { html, render, signal, computed, useEffect, useRef, useComputed } from './lib.js'
import { access, daemon, names, instances, link, cutSince, now, notes, question, confirmAct, enter, login, logout } from './state.js'
import { look, span, up } from './words.js'
import { List, filter, tone, rows, selected, fold, open, reveal } from './list.js'
import { Program, choosing } from './program.js'
import { Plan, Pending, showPlan, showing } from './plan.js'

// Where one is: '' for the list, else the name of a program.
const here = signal('')
const read = () => {
  try { here.value = decodeURIComponent(location.hash.replace(/^#\/?/, '')) } catch { here.value = '' }
  document.title = here.value ? here.value + ' · tend' : 'tend'
  scrollTo(0, 0)
}
addEventListener('hashchange', read)

const help = signal(false)

// The theme is that of the system, unless somebody said so.
const theme = signal(localStorage.getItem('tend.theme') ?? '')
theme.subscribe(v => {
  if (v) localStorage.setItem('tend.theme', v)
  else localStorage.removeItem('tend.theme')
  document.documentElement.dataset.theme = v
})
const scheme = matchMedia('(prefers-color-scheme: dark)')
const system = signal(scheme.matches)
scheme.addEventListener('change', e => { system.value = e.matches })
const dark = () => (theme.value ? theme.value === 'dark' : system.value)

function App() {
  if (access.value && !access.value.read) return html`<${Login} /><${Notes} />`
  return html`<a class="skip" href="#main" onClick=${e => { e.preventDefault(); document.querySelector('#main a, #main button')?.focus() }}>to the programs</a>
    <${Top} /><${Cut} /><${Stopping} /><${Pending} />
    ${here.value ? html`<${Program} key=${here.value} name=${here.value} />` : html`<${Programs} />`}
    <${Plan} /><${Question} /><${Help} /><${Notes} />`
}

const all = computed(() => names.value.map(n => instances.get(n)?.value).filter(Boolean))
const upWords = computed(() => (names.value.length ? `${all.value.filter(up).length} of ${names.value.length} are up` : ''))

function Top() {
  const d = daemon.value
  return html`<header class="top">
    <a class="brand" href="#/" aria-label="tend, all programs"><svg viewBox="0 0 32 32" aria-hidden="true"><path d="M4 17h6l3-9 5 16 4-7h6" /></svg>tend</a>
    <span class="sum">${upWords}</span>
    <span class="grow"></span>
    <${Link} />
    ${d && html`<span class="dim small wide" title=${(d.config ?? []).join('\n')}>pid ${d.pid}, ${d.version}</span>`}
    ${access.value?.name && html`<span class="dim small wide">${access.value.name}${access.value.act ? '' : ', may look'}</span>`}
    ${!access.value?.act && !access.value?.name && access.value && html`<span class="dim small wide">may look</span>`}
    <button class="plain" aria-label=${dark() ? 'light colours' : 'dark colours'} title="light or dark (t)" onClick=${turn}>${dark() ? '☀' : '☾'}</button>
    <button class="plain" aria-label="keys" title="keys (?)" onClick=${() => { help.value = true }}>?</button>
    ${access.value?.name && html`<button class="plain" onClick=${logout}>log out</button>`}
  </header>`
}

const turn = () => { theme.value = dark() ? 'light' : 'dark' }

function Link() {
  const words = { opening: 'connecting', live: 'live', cut: 'cut off' }
  return html`<span class=${'link ' + link.value} role="status"><span class="pulse" aria-hidden="true"></span>${words[link.value]}</span>`
}

function Cut() {
  const since = useComputed(() => span(Math.max(0, Math.floor((now.value - cutSince.value) / 1000))))
  if (link.value !== 'cut') return null
  return html`<div class="banner bad" role="alert"><span>cut off from the daemon for <span class="num">${since}</span>; trying again. What you see is from before.</span></div>`
}

const Stopping = () => daemon.value?.stopping && html`<div class="banner warn" role="status"><span>the daemon is stopping all programs</span></div>`

const tones = [['bad', 'in trouble'], ['warn', 'backing off'], ['move', 'on the move'], ['calm', 'waiting'], ['good', 'well'], ['off', 'off']]

// Programs is the list with what is above it: how many are how, which is a filter too.
function Programs() {
  const n = {}
  for (const i of all.value) n[look(i)[2]] = (n[look(i)[2]] ?? 0) + 1
  const pick = t => { tone.value = tone.value === t ? '' : t }
  return html`<main id="main">
    <div class="tools">
      <div class="tiles" role="group" aria-label="show only">
        <button class="tile" aria-pressed=${!tone.value} onClick=${() => pick('')}><b class="num">${names.value.length}</b> all</button>
        ${tones.filter(([t]) => n[t] || tone.value === t).map(([t, word]) => html`<button key=${t} class=${'tile ' + t} aria-pressed=${tone.value === t} onClick=${() => pick(t)}><b class="num">${n[t] ?? 0}</b> ${word}</button>`)}
      </div>
      <input id="filter" type="search" placeholder="filter  /" aria-label="filter by name or state" value=${filter} onInput=${e => { filter.value = e.target.value }} />
    </div>
    <${List} />
  </main>`
}

function Login() {
  const box = useRef(null)
  const error = useRef(null)
  error.current ??= signal('')
  useEffect(() => box.current.focus(), [])
  const send = async e => {
    e.preventDefault()
    try {
      await login(box.current.value.trim())
    } catch (err) {
      error.current.value = err.message
      box.current.select()
    }
  }
  return html`<main class="login"><form class="card" onSubmit=${send}>
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><path d="M4 17h6l3-9 5 16 4-7h6" /></svg>
    <h1>tend</h1>
    <label for="token">token</label>
    <input id="token" ref=${box} type="password" autocomplete="current-password" required aria-describedby="token-error" />
    <p id="token-error" class="bad" role="alert">${error.current}</p>
    <button class="primary">log in</button>
    <p class="dim small">It is a line of the daemon's token_file, and is kept in a cookie that scripts can't read.</p>
  </form></main>`
}

// Question asks before what hurts.
function Question() {
  const box = useRef(null)
  const q = question.value
  useEffect(() => { if (q && !box.current.open) box.current.showModal(); if (!q) box.current.close() }, [q])
  const go = () => { const f = question.value.go; question.value = null; f() }
  return html`<dialog ref=${box} aria-labelledby="question-title" onClose=${() => { question.value = null }}>
    ${q && html`<h2 id="question-title">${q.title}</h2><p>${q.text}</p>
    <div class="buttons"><button onClick=${() => { question.value = null }}>leave it</button><button class="danger" autofocus onClick=${go}>${q.verb}</button></div>`}
  </dialog>`
}

const keys = [['/', 'filter, or search the log'], ['j k', 'next, previous'], ['h l', 'fold, unfold a group'], ['Enter', 'open'], ['Esc', 'back, or clear the filter'],
  ['s x r', 'start, stop, restart'], ['K', 'send a signal, on a program\'s page'], ['p', 'the plan of a reload'], ['t', 'light or dark'], ['?', 'this']]

function Help() {
  const box = useRef(null)
  useEffect(() => { if (help.value && !box.current.open) box.current.showModal(); if (!help.value) box.current.close() }, [help.value])
  return html`<dialog ref=${box} aria-labelledby="help-title" onClose=${() => { help.value = false }}>
    <h2 id="help-title">keys</h2>
    <dl class="keys">${keys.map(([k, what]) => html`<div><dt>${k.split(' ').map(x => html`<kbd>${x}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <div class="buttons"><button onClick=${() => { help.value = false }}>close</button></div>
  </dialog>`
}

const Notes = () => html`<div class="notes" role="status" aria-live="polite">${notes.value.map(n => html`<p key=${n.id} class=${n.tone}>${n.text}</p>`)}</div>`

// move goes to the next row, or the one before: its link gets the focus, so that it is
// in sight, and is read out.
function move(by) {
  const list = rows.peek()
  const at = list.findIndex(r => r.key === selected.peek())
  const to = Math.max(0, Math.min(list.length - 1, at < 0 ? 0 : at + by))
  selected.value = list[to]?.key ?? ''
  reveal(to)
  requestAnimationFrame(() => document.querySelector('.row.selected .name a')?.focus())
}

addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey || question.peek() || help.peek() || showing.peek() || !access.peek()?.read) return
  if (e.target.closest('input, textarea, select')) {
    if (e.target.id === 'filter' && (e.key === 'Escape' || e.key === 'Enter')) {
      if (e.key === 'Escape') filter.value = ''
      e.target.blur()
      move(0)
    }
    return
  }
  const row = here.peek() ? { name: here.peek() } : rows.peek().find(r => r.key === selected.peek())
  const group = !here.peek() && row?.program
  const act = verb => row && access.peek().act && confirmAct(verb, row.name ?? row.program)
  const does = {
    '/': () => document.querySelector('#filter, .find')?.focus(),
    j: () => move(1), ArrowDown: !here.peek() && (() => move(1)),
    k: () => move(-1), ArrowUp: !here.peek() && (() => move(-1)),
    h: group && (() => fold(group, true)), ArrowLeft: group && (() => fold(group, true)),
    l: group && (() => fold(group, false)), ArrowRight: group && (() => fold(group, false)),
    Enter: !e.target.closest('button, a, summary') && row && !here.peek() && (() => open(row.name ?? row.program)),
    Escape: () => { if (here.peek()) location.hash = '#/'; else { filter.value = ''; tone.value = ''; selected.value = '' } },
    s: () => act('start'), x: () => act('stop'), r: () => act('restart'),
    K: here.peek() && (() => { choosing.value = here.peek() }),
    p: showPlan, t: turn, '?': () => { help.value = true },
  }[e.key]
  if (!does) return
  e.preventDefault()
  does()
})

read()
render(html`<${App} />`, document.getElementById('app'))
enter()
