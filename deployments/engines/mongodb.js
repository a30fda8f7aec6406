// A user for carts, who has their database and no other. Run by the image when the volume is new.
const password = require("fs").readFileSync("/run/secrets/mongodb_cart", "utf8").trim();
db.getSiblingDB("cartdb").createUser({
  user: "cart",
  pwd: password,
  roles: [{ role: "readWrite", db: "cartdb" }],
});
