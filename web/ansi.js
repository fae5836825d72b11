// Colours of terminals: text with escape sequences becomes pieces of text with what
// they look like. Nothing in it ever becomes markup.

// Sequences: CSI (of which only those that end in m matter), OSC, and others of two
// characters; then controls that don't show.
const sequence = /\x1b\[([0-9;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]?|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g

export const plain = () => ({ fg: null, bg: null, bold: false, dim: false, italic: false, under: false, swap: false })

// pieces splits a line into [text, style]. style goes on from line to line, and is
// changed in place; those in the answer are copies.
export function pieces(line, style) {
  const list = []
  const add = text => text && list.push([text, { ...style }])
  const back = line.lastIndexOf('\r') // what was drawn over
  let end = 0
  for (const m of line.matchAll(sequence)) {
    if (m.index > back) add(line.slice(Math.max(end, back + 1), m.index))
    end = m.index + m[0].length
    if (m[1] !== undefined) apply(m[1], style)
  }
  add(line.slice(Math.max(end, back + 1)))
  return list
}

// bare returns the text of a line without sequences.
export const bare = line => pieces(line, plain()).map(p => p[0]).join('')

function apply(codes, s) {
  const n = codes.split(/[;:]/).map(Number)
  for (let i = 0; i < n.length; i++) {
    const c = n[i]
    if (c === 0) Object.assign(s, plain())
    else if (c === 1) s.bold = true
    else if (c === 2) s.dim = true
    else if (c === 3) s.italic = true
    else if (c === 4) s.under = true
    else if (c === 7) s.swap = true
    else if (c === 22) s.bold = s.dim = false
    else if (c === 23) s.italic = false
    else if (c === 24) s.under = false
    else if (c === 27) s.swap = false
    else if (c >= 30 && c <= 37) s.fg = c - 30
    else if (c >= 90 && c <= 97) s.fg = c - 82
    else if (c === 39) s.fg = null
    else if (c >= 40 && c <= 47) s.bg = c - 40
    else if (c >= 100 && c <= 107) s.bg = c - 92
    else if (c === 49) s.bg = null
    else if (c === 38 || c === 48) {
      let colour = null
      if (n[i + 1] === 5) { colour = indexed(n[i + 2]); i += 2 } else if (n[i + 1] === 2) { colour = rgb(n[i + 2], n[i + 3], n[i + 4]); i += 4 }
      s[c === 38 ? 'fg' : 'bg'] = colour
    }
  }
}

const byte = v => Math.min(255, Math.max(0, v | 0))
const rgb = (r, g, b) => `rgb(${byte(r)}, ${byte(g)}, ${byte(b)})`

// indexed returns a colour of the 256: a number below 16 is one of the style sheet's.
function indexed(n) {
  n = byte(n)
  if (n < 16) return n
  if (n >= 232) return rgb(8 + (n - 232) * 10, 8 + (n - 232) * 10, 8 + (n - 232) * 10)
  const level = v => (v ? 55 + v * 40 : 0)
  n -= 16
  return rgb(level(Math.floor(n / 36)), level(Math.floor(n / 6) % 6), level(n % 6))
}

// node makes an element (or a text) of a piece.
export function node([text, s]) {
  let { fg, bg } = s
  if (s.swap) [fg, bg] = [bg ?? 'var(--log)', fg ?? 'var(--ink)']
  const names = ['bold', 'dim', 'italic', 'under'].filter(k => s[k])
  if (fg == null && bg == null && !names.length) return document.createTextNode(text)
  const span = document.createElement('span')
  span.textContent = text
  if (typeof fg === 'number') names.push('f' + fg)
  else if (fg) span.style.color = fg
  if (typeof bg === 'number') names.push('b' + bg)
  else if (bg) span.style.backgroundColor = bg
  span.className = names.join(' ')
  return span
}
