// What all files of the page use of the libraries.
import { h, render } from './vendor/preact.js'
import htm from './vendor/htm.js'

export { render }
export { useEffect, useRef, useState } from './vendor/hooks.js'
export { signal, computed, batch, effect, useComputed } from './vendor/signals.js'
export const html = htm.bind(h)
