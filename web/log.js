// The log of a program: it follows, stops when somebody reads, searches, and shows the
// colours of terminals. Lines are put into the page by hand: a framework would look at
// all of them for each new one.
import { html, useEffect, useRef, signal, useComputed } from './lib.js'
import { pieces, plain, node, bare } from './ansi.js'
import { path, access } from './state.js'

const most = 5000 // lines that are kept

// Log shows what a program or an instance prints. names is set where there are several
// instances, whose names stand before their lines; lines is how many of each it begins
// with.
export function Log({ name, many, lines }) {
  const box = useRef(null)
  const view = useRef(null)
  const state = useRef(null)
  state.current ??= { status: signal('opening'), paused: signal(false), waiting: signal(0), below: signal(false), query: signal(''), hits: signal(0), at: signal(0) }
  const { status, paused, waiting, below, query, hits, at } = state.current

  useEffect(() => {
    view.current = follow(box.current, name, many, lines, state.current)
    return view.current.close
  }, [name, many])

  const found = useComputed(() => (query.value ? (hits.value ? `${at.value + 1} of ${hits.value}` : 'nothing') : ''))
  const onKey = e => {
    if (e.key === 'Enter') { e.preventDefault(); view.current.step(e.shiftKey ? -1 : 1) }
    if (e.key === 'Escape') { e.stopPropagation(); query.value = e.target.value = ''; view.current.search(''); e.target.blur() }
  }
  return html`<section class="card logs" aria-label="log">
    <header>
      <h2>log</h2><span class="dim small">${status}</span>
      <span class="grow"></span>
      <input type="search" class="find" placeholder="search the log" aria-label="search the log" onInput=${e => { query.value = e.target.value; view.current.search(e.target.value) }} onKeyDown=${onKey} />
      <span class="dim small found" role="status">${found}</span>
      <button aria-pressed=${paused} aria-label="pause" onClick=${() => view.current.pause(!paused.value)}>${useComputed(() => (paused.value ? '▶' : '❚❚'))}<span class="wide"> ${useComputed(() => (paused.value ? `go on${waiting.value ? ` (${waiting.value} new)` : ''}` : 'pause'))}</span></button>
    </header>
    <div class="frame">
      <div class="lines" ref=${box} tabindex="0" role="log" aria-live="off" aria-label=${'what ' + name + ' prints'}></div>
      <button class="jump" hidden=${useComputed(() => !below.value)} onClick=${() => view.current.bottom()}>↓ newest</button>
    </div>
  </section>`
}

// follow fills box with the log, and returns how to steer it.
function follow(box, name, many, first, { status, paused, waiting, below, query, hits, at }) {
  box.textContent = ''
  let queue = [] // [name, text] that wait for the next frame, or for the end of a pause
  let frame = 0
  let position = '' // the id of the last event
  let source = null
  let timer = 0
  let stuck = true // to the end
  const styles = new Map() // of each instance: colours go on from line to line
  const tones = new Map()
  let found = []

  const line = (who, text) => {
    const el = document.createElement('div')
    if (many) {
      if (!tones.has(who)) tones.set(who, tones.size % 6)
      const label = document.createElement('span')
      label.className = 'who who' + tones.get(who)
      label.textContent = who
      el.append(label)
    }
    if (!styles.has(who)) styles.set(who, plain())
    for (const p of pieces(text, styles.get(who))) el.append(node(p))
    el.dataset.text = bare(text).toLowerCase()
    if (query.peek() && el.dataset.text.includes(query.peek().toLowerCase())) { el.classList.add('hit'); found.push(el) }
    return el
  }

  const draw = () => {
    frame = 0
    if (paused.peek()) { waiting.value = queue.length; return }
    const part = document.createDocumentFragment()
    for (const [who, text] of queue.slice(-most)) part.append(line(who, text))
    queue = []
    waiting.value = 0
    box.append(part)
    while (box.childElementCount > most) box.firstElementChild.remove()
    found = found.filter(el => el.isConnected)
    hits.value = found.length
    if (stuck) box.scrollTop = box.scrollHeight
  }
  const add = (who, text) => {
    queue.push([who, text])
    if (queue.length > 2 * most) queue = queue.slice(-most)
    frame ||= requestAnimationFrame(draw)
  }

  const open = () => {
    if (document.hidden || !access.peek()?.read) return
    source = new EventSource(path(name, 'logs') + '?follow=1&lines=' + first + (position ? '&since=' + encodeURIComponent(position) : ''))
    source.onopen = () => { status.value = 'follows' }
    source.onerror = () => again('cut off, trying again', 2000)
    source.addEventListener('log', e => {
      if (e.lastEventId) position = e.lastEventId
      const v = JSON.parse(e.data)
      if (v.missed) add(v.name, '\x1b[2m… some was rotated away before it was read …\x1b[0m')
      const lines = v.text.split('\n')
      if (lines.at(-1) === '') lines.pop()
      for (const l of lines) add(v.name, l)
    })
    source.addEventListener('trouble', e => {
      const v = JSON.parse(e.data)
      add(v.name, `\x1b[31m${v.message}\x1b[0m`)
    })
    source.addEventListener('end', () => again('ended', 2000))
  }
  const again = (word, ms) => {
    source?.close()
    status.value = word
    clearTimeout(timer)
    timer = setTimeout(open, ms)
  }
  const shown = () => (document.hidden ? source?.close() : source?.readyState !== EventSource.OPEN && again('opening', 0))

  const scrolled = () => {
    stuck = box.scrollHeight - box.scrollTop - box.clientHeight < 24
    below.value = !stuck
  }
  box.addEventListener('scroll', scrolled)
  document.addEventListener('visibilitychange', shown)
  paused.value = false
  open()

  const mark = () => {
    box.querySelector('.here')?.classList.remove('here')
    const el = found[at.peek()]
    if (!el) return
    el.classList.add('here')
    box.scrollTop = el.offsetTop - box.clientHeight / 2 // not scrollIntoView, which moves the page too
  }
  return {
    pause(yes) { paused.value = yes; if (!yes) draw() },
    bottom() { box.scrollTop = box.scrollHeight },
    search(text) {
      found = []
      text = text.toLowerCase()
      for (const el of box.children) {
        const hit = text !== '' && el.dataset.text.includes(text)
        el.classList.toggle('hit', hit)
        if (hit) found.push(el)
      }
      hits.value = found.length
      at.value = Math.max(0, found.length - 1) // the newest
      mark()
    },
    step(by) {
      if (!found.length) return
      at.value = (at.peek() - by + found.length) % found.length // Enter goes back in time
      mark()
    },
    close() {
      source?.close()
      clearTimeout(timer)
      cancelAnimationFrame(frame)
      box.removeEventListener('scroll', scrolled)
      document.removeEventListener('visibilitychange', shown)
    },
  }
}
