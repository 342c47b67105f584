import { parentPort } from 'node:worker_threads';
import { serveSigning } from './serve-signing.ts';

// The program of a worker thread of SigningPool.
if (parentPort !== null) serveSigning(parentPort);
