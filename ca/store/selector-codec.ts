import { selectorText } from '../model.ts';
import type { Selector } from '../model.ts';

const MAX_SHARED = 65_536;
const shared = new Map<string, Selector>();

/** Selectors as texts, such as `unix:uid:1000`. */
export function writeSelectors(selectors: readonly Selector[]): readonly string[] {
  return selectors.map(selectorText);
}

/** The selectors of such texts; equal ones share an object, because thousands of entries name the same few. */
export function readSelectors(texts: readonly string[]): readonly Selector[] {
  return texts.map(readSelector);
}

function readSelector(text: string): Selector {
  const known = shared.get(text);
  if (known !== undefined) return known;
  const colon = text.indexOf(':');
  const selector = { type: text.slice(0, colon), value: text.slice(colon + 1) };
  if (shared.size >= MAX_SHARED) shared.clear();
  shared.set(text, selector);
  return selector;
}
