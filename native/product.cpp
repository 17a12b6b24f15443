// placeholder until product is written
