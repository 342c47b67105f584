import { pino, type Logger } from 'pino';

export type { Logger } from 'pino';

/** How much is logged; the words that the configuration accepts. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

// Fields that would hold a secret if somebody logged the object around them. Messages never hold one in the first place.
const SECRET_FIELDS = ['privateKey', 'key', 'token', 'csr', 'joinToken', 'authorization', 'password', 'secret'];

/**
 * The logger of one process: JSON lines on standard error. Messages are fixed lower-case phrases, data is in fields.
 * Made in `main.ts` and passed down as children: `log.child({ component: 'registry' })`.
 */
export function createLogger(options: { readonly level: LogLevel; readonly name: string }): Logger {
  const paths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]);
  return pino(
    {
      name: options.name,
      level: options.level,
      base: { name: options.name },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths, censor: '[redacted]' },
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
