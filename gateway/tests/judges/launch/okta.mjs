// Okta's token endpoint, with one client, on a free port of 127.0.0.1.
import { pathToFileURL } from "node:url";
const { createEmulator } = await import(pathToFileURL(`${process.env.SEQUIN_JUDGES_MODULES}/emulate/dist/api.js`));
const client = { client_id: "gateway", client_secret: "a-secret", name: "gateway", redirect_uris: [] };
await createEmulator({ service: "okta", port: 0, seed: { okta: { oauth_clients: [client] } } });
