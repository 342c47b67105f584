import type { Logger } from './log.ts';

/** The loggers of a process whose level can be changed while it runs; a pino child keeps its level when its parent's changes. */
export class LogLevels {
  readonly #loggers: Logger[];
  /** The level that the process was started with. */
  readonly launchLevel: string;

  constructor(root: Logger) {
    this.#loggers = [root];
    this.launchLevel = root.level;
  }

  /** The logger of a component. */
  component(name: string): Logger {
    const [root] = this.#loggers;
    if (root === undefined) throw new Error('no root logger');
    const child = root.child({ component: name });
    this.#loggers.push(child);
    return child;
  }

  get level(): string {
    return this.#loggers[0]?.level ?? this.launchLevel;
  }

  set level(level: string) {
    for (const logger of this.#loggers) logger.level = level;
  }
}
