// placeholder until pool is written
