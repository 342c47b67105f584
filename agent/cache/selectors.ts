/** A fact about a workload that an attestor found out, such as `unix` / `uid:1000`. */
export interface Selector {
  readonly type: string;
  readonly value: string;
}

/** A selector as text: `type:value`. The type holds no colon, so this is unique. */
export function formatSelector({ type, value }: Selector): string {
  return `${type}:${value}`;
}

/**
 * The selectors of one workload: sorted, without duplicates. Two sets with equal `key` are equal, so everything that is
 * made for one caller can be shared by all callers that look alike.
 *
 * @example
 * SelectorSet.of([{ type: 'unix', value: 'uid:1000' }]).has('unix:uid:1000'); // true
 */
export class SelectorSet {
  /** `type:value` texts, sorted. */
  readonly texts: readonly string[];
  /** Identifies the set. */
  readonly key: string;
  readonly #members: ReadonlySet<string>;

  private constructor(texts: readonly string[]) {
    this.texts = texts;
    this.key = texts.join('\0');
    this.#members = new Set(texts);
  }

  static of(selectors: Iterable<Selector>): SelectorSet {
    const unique = new Set<string>();
    for (const selector of selectors) unique.add(formatSelector(selector));
    return new SelectorSet([...unique].sort());
  }

  /** Whether the set holds the selector, given as `type:value`. */
  has(text: string): boolean {
    return this.#members.has(text);
  }

  /** Whether every one of `texts` is in the set. */
  hasAll(texts: readonly string[]): boolean {
    return texts.every((text) => this.#members.has(text));
  }
}
