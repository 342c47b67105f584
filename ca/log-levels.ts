export { LogLevels } from '../runtime/log-levels.ts';
