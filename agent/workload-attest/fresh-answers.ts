import type { Clock } from '../../core/clock.ts';

const MAX_ANSWERS = 4096;

/** Bounds of {@link FreshAnswers}. */
export interface FreshAnswersOptions {
  readonly clock: Clock;
  readonly freshForMs: number;
  /** How long a failure is repeated without asking again; 1 s unless given. */
  readonly failedForMs?: number;
}

interface Answer<T> {
  readonly outcome: { readonly value: T } | { readonly error: unknown };
  readonly untilMs: number;
}

/** Remembers what a slow source answered, failures too, and lets callers that ask the same at once share one question. */
export class FreshAnswers<T> {
  readonly #options: FreshAnswersOptions;
  /** In order of arrival; the oldest is forgotten. */
  readonly #answers = new Map<string, Answer<T>>();
  readonly #asked = new Map<string, Promise<T>>();

  constructor(options: FreshAnswersOptions) {
    this.#options = options;
  }

  /** The remembered answer at once, or what `ask` finds. Throws what `ask` threw. */
  get(key: string, ask: () => Promise<T>): T | Promise<T> {
    const known = this.peek(key);
    if (known !== undefined) return known;
    const asked = this.#asked.get(key) ?? this.#ask(key, ask);
    this.#asked.set(key, asked);
    return asked;
  }

  /** The remembered answer, or undefined. Throws the remembered failure. */
  peek(key: string): T | undefined {
    const known = this.#answers.get(key);
    if (known === undefined || this.#options.clock.monotonicMs() >= known.untilMs) return undefined;
    if ('error' in known.outcome) throw known.outcome.error;
    return known.outcome.value;
  }

  async #ask(key: string, ask: () => Promise<T>): Promise<T> {
    try {
      const value = await ask();
      this.#remember(key, { value }, this.#options.freshForMs);
      return value;
    } catch (error) {
      this.#remember(key, { error }, this.#options.failedForMs ?? 1000);
      throw error;
    } finally {
      this.#asked.delete(key);
    }
  }

  #remember(key: string, outcome: Answer<T>['outcome'], forMs: number): void {
    this.#answers.delete(key);
    this.#answers.set(key, { outcome, untilMs: this.#options.clock.monotonicMs() + forMs });
    if (this.#answers.size <= MAX_ANSWERS) return;
    const oldest = this.#answers.keys().next();
    if (oldest.done !== true) this.#answers.delete(oldest.value);
  }
}
