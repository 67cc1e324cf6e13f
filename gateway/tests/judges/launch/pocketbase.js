/// <reference path="../pb_data/types.d.ts" />
// A collection of contacts. `key` is unique where it is given. In `keyed`, the id itself may be a UUID.
migrate((app) => {
  const fields = () => [
    { name: "email", type: "email", required: true },
    { name: "name", type: "text" },
    { name: "marker", type: "text" },
    { name: "n", type: "number" },
    { name: "created", type: "autodate", onCreate: true },
    { name: "updated", type: "autodate", onCreate: true, onUpdate: true },
  ];
  const id = { name: "id", type: "text", system: true, primaryKey: true, required: true, min: 15, max: 36,
    pattern: "^[a-z0-9-]+$", autogeneratePattern: "[a-z0-9]{15}" };
  app.save(new Collection({ type: "base", name: "contacts", fields: fields() }));
  app.save(new Collection({ type: "base", name: "keyed", fields: [id, ...fields()] }));
}, (app) => {});
